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

/* The value of a variable in %ENV, as the program sees and sets it; or of another one, which may be NULL. */
static evws_bytes environment(pTHX_ const char *name, const char *other)
{
    HV *env = get_hv("ENV", 0);
    SV *value = env ? ws_entry(aTHX_ env, name) : NULL;

    if (env && !value && other)
        value = ws_entry(aTHX_ env, other);
    return value ? ws_bytes(aTHX_ value) : WS_NO_BYTES;
}

/* `proxy => ""` says that there is none; without it the environment decides. */
static void set_proxy(pTHX_ ws_context *ctx, const ws_options *o, uint16_t port)
{
    evws_proxy_environment variables;

    if (ws_option_given(aTHX_ o, WS_OPT_PROXY)) {
        ws_or_croak(aTHX_ ctx, "new: proxy", NULL,
                    evws_context_set_proxy(ctx->engine, ws_option_string(aTHX_ o, WS_OPT_PROXY), port));
        return;
    }
    variables.https_proxy = environment(aTHX_ "https_proxy", "HTTPS_PROXY");
    /* Not HTTP_PROXY: a CGI program has that from a header of the request. */
    variables.http_proxy = environment(aTHX_ "http_proxy", NULL);
    variables.all_proxy = environment(aTHX_ "all_proxy", "ALL_PROXY");
    variables.no_proxy = environment(aTHX_ "no_proxy", "NO_PROXY");
    (void)evws_context_set_proxy_environment(ctx->engine, &variables);
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
    uint64_t id;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_CONNECT, args, count);
    ws_options_inherit(aTHX_ &o, ctx->settings);
    if (!ws_option_given(aTHX_ &o, WS_OPT_URL))
        croak("url parameter is required");
    Zero(&options, 1, evws_connect_options);
    ws_options_read(aTHX_ &o, WS_IN_connect_options, &options);
    ws_option_settings(aTHX_ &o, FALSE, &options.settings);
    ws_tls_connect(aTHX_ &o, &options.tls);
    ws_options_or_croak(aTHX_ ctx, &o, evws_connect(ws_context_engine(aTHX_ ctx), &options, &id));
    callbacks = ws_options_callbacks(aTHX_ &o, NULL);
    if (!callbacks->on[WS_ON_ERROR])
        callbacks->url = shown_url(aTHX_ options.url);
    return ws_connection_opened(aTHX_ ws_connection_new(aTHX_ ctx, id, callbacks));
}

/* ---- listen ---- */

UV ws_listen(pTHX_ ws_context *ctx, SV **args, I32 count)
{
    ws_options o;
    evws_listen_options options;
    ws_listener *listener;
    AV *origins;
    evws_listener_info info;
    uint64_t id;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_LISTEN, args, count);
    /* 0.10 had a vhost of that name. */
    if (ws_bytes_are(ws_option_string(aTHX_ &o, WS_OPT_NAME), "default"))
        croak("listen: vhost name 'default' is reserved");
    Zero(&options, 1, evws_listen_options);
    ws_option_place(aTHX_ &o, &options);
    origins = ws_option_upgrade(aTHX_ &o, &options.upgrade);
    ws_tls_listen(aTHX_ &o, &options.tls);
    options.serve_requests = ws_option_given(aTHX_ &o, WS_OPT_ON_REQUEST);
    ws_options_or_croak(aTHX_ ctx, &o, evws_listen(ws_context_engine(aTHX_ ctx), &options, &id));
    Newxz(listener, 1, ws_listener);
    listener->id = id;
    listener->name = ws_option_given(aTHX_ &o, WS_OPT_NAME) ? newSVsv(o.value[WS_OPT_NAME]) : newSVpvs("server");
    listener->callbacks = ws_options_callbacks(aTHX_ &o, origins);
    ws_watch_set_listener(aTHX_ ctx->watch, id, listener);
    Zero(&info, 1, evws_listener_info);
    (void)evws_listener_describe(ctx->engine, id, &info);
    WS_CALLED(ctx);
    return info.port;
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
