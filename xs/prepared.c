/* Prepared messages: what leads from the Perl object to the number that the engine has given it. */
#include "websockets.h"

/* Lives exactly as long as the blessed scalar it belongs to. */
struct ws_prepared {
    SV *sv;
    ws_context *ctx;                        /* counted */
    uint64_t number;
};

static int prepared_free(pTHX_ SV *sv, MAGIC *mg)
{
    ws_prepared *prepared = (ws_prepared *)ws_object_owned(sv, mg);

    if (!prepared || PL_dirty)
        return 0;
    if (prepared->ctx->engine)
        evws_prepared_free(prepared->ctx->engine, prepared->number);
    ws_context_unref(aTHX_ prepared->ctx);
    Safefree(prepared);
    return 0;
}

static MGVTBL prepared_vtbl = WS_OBJECT_VTBL(prepared_free);

SV *ws_prepared_new(pTHX_ ws_context *ctx, uint64_t number)
{
    ws_prepared *prepared;

    Newxz(prepared, 1, ws_prepared);
    prepared->ctx = ctx;
    ctx->refs++;
    prepared->number = number;
    return newRV_noinc(ws_object_new(aTHX_ gv_stashpvs("EV::Websockets::Prepared", GV_ADD), &prepared_vtbl, prepared));
}

/* The number of a prepared message; 0: the value is none. It must be of this context. */
uint64_t ws_prepared_number(pTHX_ const char *what, ws_context *ctx, SV *value)
{
    MAGIC *mg = ws_object_magic(aTHX_ value, &prepared_vtbl);
    const ws_prepared *prepared;

    if (!mg)
        return 0;
    prepared = (const ws_prepared *)mg->mg_ptr;
    if (!prepared || prepared->ctx != ctx)
        croak("%s: the message was prepared by another context", what);
    return prepared->number;
}

bool ws_is_prepared(pTHX_ SV *value)
{
    return ws_object_magic(aTHX_ value, &prepared_vtbl) != NULL;
}
