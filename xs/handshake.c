/* The methods of EV::Websockets::Handshake, and what on_handshake returned.
 *
 * Arguments are fetched first, as everywhere: that can run Perl code, which
 * can decide the same handshake or destroy its context.
 */
#include "websockets.h"

/* ---- the object ---- */

static int handshake_free(pTHX_ SV *sv, MAGIC *mg);

static MGVTBL handshake_vtbl = WS_OBJECT_VTBL(handshake_free);

static AV *asked_protocols(pTHX_ ws_context *ctx, uint64_t id)
{
    AV *list = newAV();
    evws_bytes name;
    size_t i;

    for (i = 0; evws_handshake_protocol(ctx->engine, id, i, &name); i++)
        av_push(list, ws_peer_sv(aTHX_ name));
    return list;
}

/* The caller owns the reference to the new object's scalar. */
ws_handshake *ws_handshake_new(pTHX_ ws_context *ctx, uint64_t id, HV *headers)
{
    ws_handshake *handshake;

    Newxz(handshake, 1, ws_handshake);
    handshake->ctx = ctx;
    ctx->refs++;
    handshake->id = id;
    handshake->pid = getpid();
    handshake->headers = (HV *)SvREFCNT_inc((SV *)headers);
    handshake->protocols = asked_protocols(aTHX_ ctx, id);
    (void)ws_object_new(aTHX_ ctx->globals->handshake_stash, &handshake_vtbl, handshake);
    return handshake;
}

/* In a thread that it was copied into it is none. */
ws_handshake *ws_handshake_from_sv(pTHX_ SV *sv, CV *method)
{
    return (ws_handshake *)ws_object_invocant(aTHX_ sv, &handshake_vtbl, "Handshake", method, TRUE);
}

/* Nobody can decide any more. In a forked child the client is the parent's, and at
 * global destruction the loop may be gone. */
static int handshake_free(pTHX_ SV *sv, MAGIC *mg)
{
    ws_handshake *handshake = (ws_handshake *)ws_object_owned(sv, mg);

    if (!handshake)
        return 0;
    if (!PL_dirty && getpid() == handshake->pid)
        ws_handshake_refuse(aTHX_ handshake, 500);
    SvREFCNT_dec((SV *)handshake->headers);
    SvREFCNT_dec((SV *)handshake->protocols);
    SvREFCNT_dec(handshake->protocol);
    SvREFCNT_dec((SV *)handshake->stash);
    ws_context_unref(aTHX_ handshake->ctx);
    Safefree(handshake);
    return 0;
}

/* ---- decisions ---- */

static void check_undecided(pTHX_ const ws_handshake *handshake, const char *what)
{
    if (handshake->decided)
        croak("%s: the handshake has been decided already", what);
}

static bool decided(ws_handshake *handshake, bool waited)
{
    handshake->decided = TRUE;
    WS_WAKE(handshake->ctx);
    return waited;
}

/* TRUE: the client waited for this. If it was refused nothing is decided. */
static bool accept_with(pTHX_ ws_handshake *handshake, const char *what, SV *list)
{
    ws_context *ctx = handshake->ctx;
    evws_bytes protocol = handshake->protocol ? ws_bytes(aTHX_ handshake->protocol) : WS_NO_BYTES;
    evws_headers headers;
    bool waited;

    check_undecided(aTHX_ handshake, what);
    WS_LIST_GIVE(list, headers);
    waited = ws_answered(aTHX_ ctx, what, NULL, evws_handshake_accept(ctx->engine, handshake->id, protocol, headers));
    /* It is kept until its client is connected, or has gone. */
    if (waited && handshake->stash) {
        if (!ctx->stashes)
            ctx->stashes = newHV();
        (void)hv_store(ctx->stashes, (const char *)&handshake->id, sizeof handshake->id,
                       newRV_inc((SV *)handshake->stash), 0);
    }
    return decided(handshake, waited);
}

/* Owned by the caller; NULL: there is none. */
HV *ws_handshake_take_stash(pTHX_ ws_context *ctx, uint64_t id)
{
    SV *kept = ctx->stashes ? hv_delete(ctx->stashes, (const char *)&id, sizeof id, 0) : NULL;

    return kept ? (HV *)SvREFCNT_inc(SvRV(kept)) : NULL;
}

/* The stash of an adopted connection is there already. */
SV *ws_handshake_stash(pTHX_ ws_handshake *handshake)
{
    ws_context *ctx = handshake->ctx;
    ws_connection *conn = ctx->engine ? ws_watch_connection(ctx->watch, handshake->id) : NULL;

    if (conn && !handshake->stash)
        return ws_stash(aTHX_ conn);
    if (!handshake->stash)
        handshake->stash = newHV();
    return newRV_inc((SV *)handshake->stash);
}

/* `status` is that of the response, as it was given; or NULL. */
static bool reject_with(pTHX_ ws_handshake *handshake, const char *what, SV *status, const evws_response *response)
{
    ws_context *ctx = handshake->ctx;

    check_undecided(aTHX_ handshake, what);
    return decided(handshake,
                   ws_answered(aTHX_ ctx, what, status, evws_handshake_reject(ctx->engine, handshake->id, response)));
}

/* What is in an object is its own affair: a user's record is no list of headers. */
static HV *plain_hash(SV *value)
{
    HV *hash = ws_hash(value);

    return hash && !SvOBJECT(hash) ? hash : NULL;
}

/* A mortal copy; NULL: not given, or undef. */
static SV *optional(pTHX_ SV *argument)
{
    SV *given = argument ? sv_mortalcopy(argument) : NULL;

    return given && SvOK(given) ? given : NULL;
}

bool ws_handshake_accept(pTHX_ ws_handshake *handshake, SV *headers)
{
    SV *given = optional(aTHX_ headers);
    HV *hash = given ? plain_hash(given) : NULL;

    if (given && !hash)
        ws_must_be(aTHX_ "accept", "headers", "a hash reference", given);
    return accept_with(aTHX_ handshake, "accept", hash ? ws_headers_of_hash(aTHX_ "accept", hash) : ws_list(aTHX));
}

/* The parts may be NULL or undef: 403, no headers, a sentence. */
bool ws_handshake_reject(pTHX_ ws_handshake *handshake, SV *status, SV *headers, SV *body)
{
    evws_response response;

    status = optional(aTHX_ status);
    headers = optional(aTHX_ headers);
    body = optional(aTHX_ body);
    if (!status)
        status = sv_2mortal(newSViv(403));
    ws_response_from_parts(aTHX_ "reject", status, headers, body, &response);
    return reject_with(aTHX_ handshake, "reject", status, &response);
}

/* For the library itself, whose response is never refused: a status and its sentence. */
void ws_handshake_refuse(pTHX_ ws_handshake *handshake, U32 status)
{
    const evws_response response = { .status = status };

    if (!handshake->decided)
        (void)reject_with(aTHX_ handshake, "reject", NULL, &response);
}

/* What the callback returned, unless it has decided by a method. Croaks, with
 * nothing decided, if it cannot be carried out. */
void ws_handshake_returned(pTHX_ ws_handshake *handshake, SV *returned)
{
    const char *what = "on_handshake";
    evws_response response;
    AV *array = ws_array(returned);
    HV *hash = plain_hash(returned);

    if (handshake->decided || (SvROK(returned) && SvRV(returned) == handshake->sv))
        return;
    if (ws_object_magic(aTHX_ returned, &handshake_vtbl))
        croak("on_handshake returned the handshake of another client");
    if (array && !SvOBJECT(array) && av_len(array) >= 0) {
        SV *status = ws_response_from_triple(aTHX_ what, returned, &response);

        (void)reject_with(aTHX_ handshake, what, status, &response);
    } else if (SvTRUE(returned)) {
        (void)accept_with(aTHX_ handshake, what, hash ? ws_headers_of_hash(aTHX_ what, hash) : ws_list(aTHX));
    } else {
        ws_handshake_refuse(aTHX_ handshake, 403);
    }
}

/* Picks the subprotocol, if there is a name. Returns the one that is picked, or undef. */
SV *ws_handshake_protocol(pTHX_ ws_handshake *handshake, SV *name)
{
    ws_context *ctx = handshake->ctx;

    if (name) {
        SV *plain = ws_plain_string(aTHX_ sv_mortalcopy(name));

        if (!plain)
            croak("protocol: the name must be a defined string");
        check_undecided(aTHX_ handshake, "protocol");
        (void)ws_answered(aTHX_ ctx, "protocol", NULL,
                          evws_handshake_check_protocol(ctx->engine, handshake->id, ws_bytes(aTHX_ plain)));
        SvREFCNT_dec(handshake->protocol);
        handshake->protocol = newSVsv(plain);
    }
    return handshake->protocol ? newSVsv(handshake->protocol) : newSV(0);
}

bool ws_handshake_is_pending(const ws_handshake *handshake)
{
    return !handshake->decided && evws_handshake_is_pending(handshake->ctx->engine, handshake->id);
}
