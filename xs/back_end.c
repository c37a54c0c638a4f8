/* The object that carries publications to other processes, and is asked in place of the engine. */
#include "websockets.h"

/* Whether another object is asked in place of the engine. */
bool ws_has_back_end(pTHX_ ws_context *ctx, const ws_options *o)
{
    /* Reading the flag can run code that takes the back end away. */
    const bool is_local = ws_option_flag(aTHX_ o, WS_OPT_LOCAL);

    return ctx->back_end && !is_local;
}

/* Asks the back end, if there is one and it has that method: $object->$method(@arg, \%options), without options if `o` is
 * NULL. Mortal; NULL: it was not asked. */
SV *ws_ask_back_end(pTHX_ ws_context *ctx, const char *method, SV **arg, int args, const ws_options *o)
{
    SV *all[5];
    GV *found = ctx->back_end ? gv_fetchmethod(SvSTASH(SvRV(ctx->back_end)), method) : NULL;
    int count = 0, i;

    if (!found || !GvCV(found))
        return NULL;
    all[count++] = sv_mortalcopy(ctx->back_end);
    for (i = 0; i < args; i++)
        all[count++] = sv_mortalcopy(arg[i]);
    if (o)
        all[count++] = sv_2mortal(newRV_inc((SV *)ws_options_settings(aTHX_ o)));
    return ws_call(aTHX_ (SV *)GvCV(found), all, count, G_SCALAR);
}

/* The same of one that is to have the method. */
SV *ws_must_ask_back_end(pTHX_ ws_context *ctx, const char *method, SV **arg, int args, const ws_options *o)
{
    SV *answer = ws_ask_back_end(aTHX_ ctx, method, arg, args, o);

    if (!answer)
        croak("%s: the back end cannot %s", o->method, method);
    return answer;
}

void ws_set_backplane(pTHX_ ws_context *ctx, SV *object)
{
    static const char *const needed[] = { "publish", "topic_used", "topic_unused" };
    SV *before;
    size_t i;

    object = sv_mortalcopy(object);
    ws_context_engine(aTHX_ ctx);
    if (SvOK(object)) {
        if (!sv_isobject(object))
            ws_must_be(aTHX_ "set_backplane", "back end", "an object", object);
        for (i = 0; i < C_ARRAY_LENGTH(needed); i++)
            if (!gv_fetchmethod(SvSTASH(SvRV(object)), needed[i]))
                croak("set_backplane: the object has no method %s", needed[i]);
    }
    before = ctx->back_end;
    ctx->back_end = SvOK(object) ? newSVsv(object) : NULL;
    evws_topics_watch(ctx->engine, ctx->back_end != NULL);
    SvREFCNT_dec(before);
    if (ctx->engine)
        WS_CALLED(ctx);
}
