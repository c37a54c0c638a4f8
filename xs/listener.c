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
    if (ws_option_given(aTHX_ o, WS_OPT_HOST) && !out->hosts.count)
        croak("listen: host must name at least one address");
    out->mode = mode_option(aTHX_ o);
    out->has_fd = o->value[WS_OPT_FD] != NULL;
    if (out->has_fd)
        out->fd = fd_option(aTHX_ o);
}

/* ---- listeners ---- */

static AV *hosts_of(pTHX_ ws_context *ctx, uint64_t id, size_t count)
{
    AV *hosts = newAV();
    size_t i;

    for (i = 0; i < count; i++)
        av_push(hosts, ws_text_sv(aTHX_ evws_listener_host(ctx->engine, id, i)));
    return hosts;
}

/* NULL: it was stopped. */
static SV *description(pTHX_ ws_context *ctx, const ws_listener *listener)
{
    evws_listener_info info;
    HV *hash;

    if (!evws_listener_describe(ctx->engine, listener->id, &info))
        return NULL;
    hash = newHV();
    /* The path is lent until the next call. */
    ws_store(aTHX_ hash, "path", ws_text_sv(aTHX_ info.path));
    ws_store(aTHX_ hash, "name", newSVsv(listener->name));
    ws_store(aTHX_ hash, "port", newSVuv(info.port));
    ws_store(aTHX_ hash, "tls", newSViv(info.is_secure));
    ws_store(aTHX_ hash, "hosts", newRV_noinc((SV *)hosts_of(aTHX_ ctx, listener->id, info.host_count)));
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

static bool all_digits(evws_bytes text)
{
    size_t i;

    for (i = 0; i < text.length; i++)
        if (!isDIGIT(text.data[i]))
            return FALSE;
    return text.length > 0;
}

static bool is_at(ws_context *ctx, uint64_t id, evws_bytes where, uint16_t port)
{
    evws_listener_info info;

    if (!port)
        return evws_listener_is_at(ctx->engine, id, where);
    return evws_listener_describe(ctx->engine, id, &info) && info.port == port;
}

/* A socket is closed when the loop has let go of it. Until then clients would
 * connect, only to be cut off. */
static void close_now(pTHX_ ws_context *ctx)
{
    ws_watch_settle(aTHX_ ctx);
    WS_WAKE(ctx);
}

/* A list of uint64_t: the ids of all listeners at a port, or at the path of a Unix socket. */
static SV *ids_at(pTHX_ ws_context *ctx, const char *method, SV *where)
{
    SV *given = sv_mortalcopy(where);
    SV *plain = ws_plain_string(aTHX_ given);
    SV *ids = ws_list(aTHX);
    evws_bytes text;
    UV port;
    U32 i;

    if (!plain)
        croak("%s: give a port or the path of a Unix socket (got '%s')", method, ws_shown(aTHX_ given));
    text = ws_bytes(aTHX_ plain);
    port = all_digits(text) ? SvUV(plain) : 0;
    ws_context_engine(aTHX_ ctx);
    for (i = 0; port <= 65535 && i < ws_watch_slots(ctx->watch); i++) {
        ws_listener *listener = ws_watch_listener_at(ctx->watch, i);

        if (listener && is_at(ctx, listener->id, text, (uint16_t)port))
            WS_LIST_ADD(ids, listener->id);
    }
    if (!SvCUR(ids))
        croak("%s: nothing listens at '%s'", method, ws_shown(aTHX_ plain));
    return ids;
}

UV ws_stop_listening(pTHX_ ws_context *ctx, SV *where)
{
    SV *ids = ids_at(aTHX_ ctx, "stop_listening", where);
    const uint64_t *id;
    size_t i, count;
    UV stopped = 0;

    id = (uint64_t *)SvPVX(ids);
    count = WS_LIST_COUNT(ids, uint64_t);
    for (i = 0; i < count; i++)
        if (evws_stop_listening(ctx->engine, id[i]) == EVWS_STATUS_OK)
            stopped++;
    close_now(aTHX_ ctx);
    return stopped;
}

/* ---- reload_tls ---- */

/* Of listeners at one port, on different addresses, some may be without TLS. */
void ws_reload_tls(pTHX_ ws_context *ctx, SV *where)
{
    SV *ids = ids_at(aTHX_ ctx, "reload_tls", where);
    uint64_t *id;
    size_t count, i, secure = 0;
    evws_listener_info info;

    id = (uint64_t *)SvPVX(ids);
    count = WS_LIST_COUNT(ids, uint64_t);
    for (i = 0; i < count; i++)
        if (evws_listener_describe(ctx->engine, id[i], &info) && info.is_secure)
            id[secure++] = id[i];
    if (!secure)
        croak("reload_tls: the listener at '%s' has no TLS", ws_shown(aTHX_ sv_mortalcopy(where)));
    if (evws_reload_tls(ctx->engine, id, secure) != EVWS_STATUS_OK)
        ws_context_croak(aTHX_ ctx, "reload_tls");
}

/* ---- shutdown ---- */

static evws_bytes reason_option(pTHX_ const ws_options *o)
{
    SV *plain = ws_plain_scalar(aTHX_ o->value[WS_OPT_REASON]);

    return plain ? ws_reason(aTHX_ o->method, plain) : ws_option_string(aTHX_ o, WS_OPT_REASON);
}

void ws_shutdown(pTHX_ ws_context *ctx, SV **args, I32 count)
{
    ws_options o;
    evws_bytes reason = { NULL, 0 };
    int64_t code;
    NV timeout;
    bool wants_cb;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_SHUTDOWN, args, count);
    timeout = ws_option_number(aTHX_ &o, WS_OPT_TIMEOUT);
    code = ws_option_given(aTHX_ &o, WS_OPT_CODE) ? ws_close_code(aTHX_ o.method, o.value[WS_OPT_CODE]) : 1001;
    if (ws_option_given(aTHX_ &o, WS_OPT_REASON))
        reason = reason_option(aTHX_ &o);
    wants_cb = ws_option_code(aTHX_ &o, WS_OPT_CB) != NULL;
    ws_context_engine(aTHX_ ctx);
    if (evws_shutdown(ctx->engine, timeout, code, reason) != EVWS_STATUS_OK)
        ws_context_croak(aTHX_ ctx, o.method);
    ctx->told = TRUE;
    if (!ctx->at_shutdown)
        ctx->at_shutdown = newAV();
    av_push(ctx->at_shutdown, wants_cb ? newSVsv(o.value[WS_OPT_CB]) : newSV(0));
    close_now(aTHX_ ctx);
}
