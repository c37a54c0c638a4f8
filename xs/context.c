/* The methods of EV::Websockets::Context: from options to a call of the engine.
 *
 * In each the order is the same: read every option (that can run Perl code),
 * only then look whether the context is still there, then call the engine.
 */
#include "websockets.h"

/* ---- new ---- */

static SV *loop_option(pTHX_ const ws_options *o)
{
    SV *loop = o->value[WS_OPT_LOOP];

    if (!ws_option_given(aTHX_ o, WS_OPT_LOOP))
        return NULL;
    if (!SvROK(loop) || !sv_derived_from(loop, "EV::Loop") || !SvIOK(SvRV(loop)))
        ws_option_must_be(aTHX_ o, WS_OPT_LOOP, "an EV::Loop object");
    return SvRV(loop);
}

/* The value of a variable in %ENV, as the program sees and sets it. */
static evws_bytes environment(pTHX_ const char *name)
{
    HV *env = get_hv("ENV", 0);
    SV *value = env ? ws_entry(aTHX_ env, name) : NULL;
    evws_bytes none = { NULL, 0 };

    return value ? ws_bytes(aTHX_ value) : none;
}

static evws_bytes environment_either(pTHX_ const char *lower, const char *upper)
{
    evws_bytes value = environment(aTHX_ lower);

    return value.data ? value : environment(aTHX_ upper);
}

/* `proxy => ""` says that there is none; without it the environment decides. */
static void set_proxy(pTHX_ ws_context *ctx, const ws_options *o, uint16_t port)
{
    evws_proxy_environment variables;

    if (ws_option_given(aTHX_ o, WS_OPT_PROXY)) {
        if (evws_context_set_proxy(ctx->engine, ws_option_string(aTHX_ o, WS_OPT_PROXY), port) != EVWS_STATUS_OK) {
            evws_bytes text = ws_error_text(ctx->engine);

            croak("new: %s: %.*s", ws_option_name(WS_OPT_PROXY), (int)text.length, WS_TEXT(text));
        }
        return;
    }
    variables.https_proxy = environment_either(aTHX_ "https_proxy", "HTTPS_PROXY");
    /* Not HTTP_PROXY: a CGI program has that from a header of the request. */
    variables.http_proxy = environment(aTHX_ "http_proxy");
    variables.all_proxy = environment_either(aTHX_ "all_proxy", "ALL_PROXY");
    variables.no_proxy = environment_either(aTHX_ "no_proxy", "NO_PROXY");
    (void)evws_context_set_proxy_environment(ctx->engine, &variables);
}

/* Writes $host and $port of a proxy; returns how many there are: 2, or 0 for
 * what names no host or no possible port. */
int ws_parse_proxy(pTHX_ SV *proxy, SV **out)
{
    evws_bytes host;
    uint16_t port;

    proxy = sv_mortalcopy(proxy);
    if (!SvOK(proxy) || evws_proxy_parse(ws_bytes(aTHX_ proxy), &host, &port) != EVWS_STATUS_OK)
        return 0;
    out[0] = newSVpvn_flags((const char *)host.data, host.length, SVs_TEMP);
    out[1] = sv_2mortal(newSVuv(port));
    return 2;
}

/* `args` begin with the name of the class. */
SV *ws_new(pTHX_ SV **args, I32 count)
{
    static const ws_option strings[] = { WS_OPT_PROXY, WS_OPT_SSL_CERT, WS_OPT_SSL_KEY, WS_OPT_SSL_CA };
    ws_options o;
    ws_context *ctx;
    SV *class_name, *loop, *object;
    HV *stash;
    uint16_t port;
    size_t i;

    class_name = sv_mortalcopy(ws_invocant(aTHX_ args, count));
    ws_options_parse(aTHX_ &o, WS_FOR_NEW, args + 1, count - 1);
    loop = loop_option(aTHX_ &o);
    for (i = 0; i < C_ARRAY_LENGTH(strings); i++)
        (void)ws_option_string(aTHX_ &o, strings[i]);
    port = (uint16_t)ws_option_number(aTHX_ &o, WS_OPT_PROXY_PORT);
    if (SvROK(class_name) || !SvOK(class_name) || !SvPV_nolen(class_name)[0]
        || !(stash = gv_stashsv(class_name, GV_ADD)))
        croak("new: the invocant must be the name of a class");
    o.value[WS_OPT_LOOP] = NULL;
    ctx = ws_context_new(aTHX_ loop, ws_options_settings(aTHX_ &o));
    object = sv_2mortal(ws_context_object(aTHX_ ctx, stash));
    set_proxy(aTHX_ ctx, &o, port);
    return SvREFCNT_inc(object);
}

/* ---- connect ---- */

static void connect_options(pTHX_ const ws_options *o, evws_connect_options *out)
{
    Zero(out, 1, evws_connect_options);
    if (!ws_option_given(aTHX_ o, WS_OPT_URL))
        croak("url parameter is required");
    ws_options_read(aTHX_ o, WS_IN_connect_options, out);
    ws_option_settings(aTHX_ o, FALSE, &out->settings);
    ws_tls_connect(aTHX_ o, &out->tls);
}

/* Without the query, which has the credentials as a rule. */
static SV *shown_url(pTHX_ evws_bytes url)
{
    size_t length = 0;

    while (length < url.length && url.data[length] != '?' && url.data[length] != '#')
        length++;
    return newSVpvn((const char *)url.data, length);
}

SV *ws_connect(pTHX_ ws_context *ctx, SV **args, I32 count)
{
    ws_options o;
    evws_connect_options options;
    ws_callbacks *callbacks;
    ws_connection *conn;
    uint64_t id;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_CONNECT, args, count);
    ws_options_inherit(aTHX_ &o, ctx->settings);
    connect_options(aTHX_ &o, &options);
    ws_context_engine(aTHX_ ctx);
    callbacks = ws_options_callbacks(aTHX_ &o, NULL);
    options.settings.wants = ws_callbacks_wants(callbacks);
    if (!callbacks->on[WS_ON_ERROR])
        callbacks->url = shown_url(aTHX_ options.url);
    if (evws_connect(ctx->engine, &options, &id) != EVWS_STATUS_OK) {
        ws_callbacks_unref(aTHX_ callbacks);
        ws_context_croak(aTHX_ ctx, "connect");
    }
    conn = ws_connection_new(aTHX_ ctx, id, callbacks);
    ws_callbacks_unref(aTHX_ callbacks);
    WS_WAKE(ctx);
    return newRV_inc(conn->sv);
}

/* ---- listen ---- */

/* 0.10 had a vhost of that name. */
static void refuse_default(pTHX_ const ws_options *o)
{
    if (ws_bytes_are(ws_option_string(aTHX_ o, WS_OPT_NAME), "default"))
        croak("listen: vhost name 'default' is reserved");
}

/* Returns the patterns among the origins. */
static AV *listen_options(pTHX_ const ws_options *o, evws_listen_options *out)
{
    AV *patterns;

    Zero(out, 1, evws_listen_options);
    ws_option_place(aTHX_ o, out);
    patterns = ws_option_upgrade(aTHX_ o, &out->upgrade);
    ws_tls_listen(aTHX_ o, &out->tls);
    return patterns;
}

static ws_listener *listener_new(pTHX_ const ws_options *o, AV *origins)
{
    ws_callbacks *callbacks = ws_options_callbacks(aTHX_ o, origins);
    ws_listener *listener;

    Newxz(listener, 1, ws_listener);
    listener->name = ws_option_given(aTHX_ o, WS_OPT_NAME) ? newSVsv(o->value[WS_OPT_NAME]) : newSVpvs("server");
    listener->callbacks = callbacks;
    return listener;
}

UV ws_listen(pTHX_ ws_context *ctx, SV **args, I32 count)
{
    ws_options o;
    evws_listen_options options;
    ws_listener *listener;
    AV *origins;
    uint16_t port;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_LISTEN, args, count);
    refuse_default(aTHX_ &o);
    origins = listen_options(aTHX_ &o, &options);
    ws_context_engine(aTHX_ ctx);
    listener = listener_new(aTHX_ &o, origins);
    options.upgrade.ask_handshake = listener->callbacks->on[WS_ON_HANDSHAKE] != NULL;
    options.serve_requests = listener->callbacks->on[WS_ON_REQUEST] != NULL;
    options.upgrade.settings.wants = ws_callbacks_wants(listener->callbacks);
    if (evws_listen(ctx->engine, &options, &listener->id, &port) != EVWS_STATUS_OK) {
        ws_listener_free(aTHX_ listener);
        ws_context_croak(aTHX_ ctx, "listen");
    }
    ws_watch_set_listener(aTHX_ ctx->watch, listener->id, listener);
    WS_WAKE(ctx);
    return port;
}

/* ---- connections ---- */

/* A mortal array of references. */
AV *ws_connections(pTHX_ ws_context *ctx)
{
    AV *list = (AV *)sv_2mortal((SV *)newAV());
    U32 i;

    for (i = 0; ctx && ctx->engine && i < ws_watch_slots(ctx->watch); i++) {
        ws_connection *conn = ws_watch_connection_at(ctx->watch, i);
        U32 state = conn ? ws_connection_state(conn) : EVWS_STATE_CLOSED;

        if (state == EVWS_STATE_CONNECTED || state == EVWS_STATE_CLOSING)
            av_push(list, newRV_inc(conn->sv));
    }
    return list;
}
