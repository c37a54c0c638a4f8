/* Where a listener listens, what a program may ask about it, and how it ends:
 * alone with stop_listening, with everything else with shutdown. */
#include "websockets.h"

/* ---- listen: the options that say where ---- */

/* A mode of 600 or '0600' is the mistake that everybody makes once: both are
 * numbers beyond 0777. */
static int32_t mode_option(pTHX_ const ws_options *o)
{
    NV mode;

    if (!ws_option_given(aTHX_ o, WS_OPT_MODE))
        return -1;
    if (!ws_option_given(aTHX_ o, WS_OPT_PATH))
        croak("listen: mode is for a path");
    mode = ws_number(aTHX_ o->value[WS_OPT_MODE]);
    if (!(mode >= 0 && mode <= 0777 && mode == Perl_floor(mode)))
        ws_option_must_be(aTHX_ o, WS_OPT_MODE, "a number from 0 to 0777, such as 0600");
    return (int32_t)mode;
}

static int32_t fd_option(pTHX_ const ws_options *o)
{
    SV *fd = o->value[WS_OPT_FD];
    PerlIO *file = ws_file_of(aTHX_ fd);
    NV number;

    if (file && PerlIO_fileno(file) >= 0)
        return PerlIO_fileno(file);
    number = isGV_with_GP(fd) ? -1 : ws_number(aTHX_ fd);
    if (!(number >= 0 && number <= I32_MAX && number == Perl_floor(number)))
        ws_option_must_be(aTHX_ o, WS_OPT_FD, "an open file handle or the number of a descriptor");
    return (int32_t)number;
}

/* What goes together: port, host, reuse_port and backlog; path, mode and
 * backlog; fd alone. */
static void refuse_mixtures(pTHX_ const ws_options *o)
{
    const char *other = o->value[WS_OPT_FD] ? ws_option_with(aTHX_ o, WS_NOT_WITH_FD) : NULL;

    if (other)
        croak("listen: give either %s or fd", other);
    other = ws_option_given(aTHX_ o, WS_OPT_PATH) ? ws_option_with(aTHX_ o, WS_NOT_WITH_PATH) : NULL;
    if (other)
        croak("listen: give either %s or path", other);
}

/* A mistake in `host` must not open a port to the world, so nothing that was
 * given may come to mean "all addresses". */
void ws_option_place(pTHX_ const ws_options *o, evws_listen_options *out)
{
    refuse_mixtures(aTHX_ o);
    ws_options_read(aTHX_ o, WS_IN_listen_options, out);
    out->proxy_heads = ws_option_optional(aTHX_ o, WS_OPT_PROXY_PROTOCOL);
    if (ws_option_given(aTHX_ o, WS_OPT_HOST) && !out->hosts.count)
        croak("listen: host must name at least one address");
    out->mode = mode_option(aTHX_ o);
    out->has_fd = o->value[WS_OPT_FD] != NULL;
    if (out->has_fd)
        out->fd = fd_option(aTHX_ o);
}

/* ---- listeners ---- */

/* NULL: it was stopped. */
static SV *description(pTHX_ ws_context *ctx, const ws_listener *listener)
{
    evws_listener_info info;
    HV *hash;
    AV *hosts;
    size_t i;

    if (!evws_listener_describe(ctx->engine, listener->id, &info))
        return NULL;
    hash = newHV();
    hosts = newAV();
    /* The path is lent until the next call. */
    (void)hv_stores(hash, "path", ws_text_sv(aTHX_ info.path));
    (void)hv_stores(hash, "name", newSVsv(listener->name));
    (void)hv_stores(hash, "port", newSVuv(info.port));
    (void)hv_stores(hash, "tls", newSViv(info.is_secure));
    (void)hv_stores(hash, "hosts", newRV_noinc((SV *)hosts));
    for (i = 0; i < info.host_count; i++)
        av_push(hosts, ws_text_sv(aTHX_ evws_listener_host(ctx->engine, listener->id, i)));
    return newRV_noinc((SV *)hash);
}

/* A mortal array of hash references. */
AV *ws_listeners(pTHX_ ws_context *ctx)
{
    AV *list = (AV *)sv_2mortal((SV *)newAV());
    U32 i;

    for (i = 0; ctx && ctx->engine && i < ws_watch_slots(ctx->watch); i++) {
        ws_listener *listener = ws_watch_listener_at(ctx->watch, i);
        SV *hash = listener ? description(aTHX_ ctx, listener) : NULL;

        if (hash)
            av_push(list, hash);
    }
    return list;
}

/* ---- stop_listening ---- */

/* A socket is closed when the loop has let go of it. Until then clients would
 * connect, only to be cut off. */
static void close_now(pTHX_ ws_context *ctx)
{
    ws_watch_settle(aTHX_ ctx);
    WS_CALLED(ctx);
}

/* A list of uint64_t: the ids of all listeners at a port, or at the path of a Unix socket. */
SV *ws_listener_ids(pTHX_ ws_context *ctx, const char *method, SV *where)
{
    SV *given = sv_mortalcopy(where);
    SV *plain = ws_plain_string(aTHX_ given);
    SV *ids = ws_list(aTHX);
    U32 i;

    if (!plain)
        croak("%s: give a port or the path of a Unix socket (got '%s')", method, ws_shown(aTHX_ given));
    ws_context_engine(aTHX_ ctx);
    for (i = 0; i < ws_watch_slots(ctx->watch); i++) {
        ws_listener *listener = ws_watch_listener_at(ctx->watch, i);

        if (listener && evws_listener_is_at(ctx->engine, listener->id, ws_bytes(aTHX_ plain)))
            WS_LIST_ADD(ids, listener->id);
    }
    if (!SvCUR(ids))
        croak("%s: nothing listens at '%s'", method, ws_shown(aTHX_ plain));
    return ids;
}

UV ws_stop_listening(pTHX_ ws_context *ctx, SV *where)
{
    SV *ids = ws_listener_ids(aTHX_ ctx, "stop_listening", where);
    const uint64_t *id = (const uint64_t *)SvPVX(ids);
    size_t i;
    UV stopped = 0;

    for (i = 0; i < WS_LIST_COUNT(ids, uint64_t); i++)
        if (evws_stop_listening(ctx->engine, id[i]) == EVWS_STATUS_OK)
            stopped++;
    close_now(aTHX_ ctx);
    return stopped;
}

/* ---- reload_tls ---- */

/* Of listeners at one port, on different addresses, some may be without TLS. */
void ws_reload_tls(pTHX_ ws_context *ctx, SV *where)
{
    SV *ids = ws_listener_ids(aTHX_ ctx, "reload_tls", where);
    uint64_t *id = (uint64_t *)SvPVX(ids);
    size_t i, secure = 0;
    evws_listener_info info;

    for (i = 0; i < WS_LIST_COUNT(ids, uint64_t); i++)
        if (evws_listener_describe(ctx->engine, id[i], &info) && info.is_secure)
            id[secure++] = id[i];
    if (!secure)
        croak("reload_tls: the listener at '%s' has no TLS", ws_shown(aTHX_ sv_mortalcopy(where)));
    ws_or_croak(aTHX_ ctx, "reload_tls", NULL, evws_reload_tls(ctx->engine, id, secure));
    WS_LOG(ctx);
}

/* ---- shutdown ---- */

void ws_shutdown(pTHX_ ws_context *ctx, SV **args, I32 count)
{
    ws_options o;
    evws_bytes reason;
    int64_t code;
    NV timeout;
    bool wants_cb;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_SHUTDOWN, args, count);
    timeout = ws_option_number(aTHX_ &o, WS_OPT_TIMEOUT);
    code = ws_option_given(aTHX_ &o, WS_OPT_CODE) ? ws_close_code(aTHX_ o.method, o.value[WS_OPT_CODE]) : 1001;
    reason = ws_reason(aTHX_ "shutdown", o.value[WS_OPT_REASON]);
    wants_cb = ws_option_code(aTHX_ &o, WS_OPT_CB) != NULL;
    ws_or_croak(aTHX_ ctx, "shutdown", o.value[WS_OPT_CODE],
                evws_shutdown(ws_context_engine(aTHX_ ctx), timeout, code, reason));
    ctx->told = TRUE;
    if (!ctx->at_shutdown)
        ctx->at_shutdown = newAV();
    av_push(ctx->at_shutdown, wants_cb ? newSVsv(o.value[WS_OPT_CB]) : newSV(0));
    close_now(aTHX_ ctx);
}
