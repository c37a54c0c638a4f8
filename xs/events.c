/* From an event of the engine to the callback that it has, and its arguments; and what it means for the objects.
 */
#include "frame.h"

/* Indexed by EVWS_EVENT_*. */
static const struct {
    const char *handler;        /* as the warning names it */
    int callback;
} ws_events[] = {
    { "",                 0 },
    { "on_handshake",     WS_ON_HANDSHAKE },
    { "connect handler",  WS_ON_CONNECT },
    { "message handler",  WS_ON_MESSAGE },
    { "pong handler",     WS_ON_PONG },
    { "drain handler",    WS_ON_DRAIN },
    { "error handler",    WS_ON_ERROR },
    { "error handler",    WS_ON_ERROR },
    { "close handler",    WS_ON_CLOSE },
    { "on_request",       WS_ON_REQUEST },
    { "",                 0 },
    { "shutdown handler", 0 },
    { "",                 0 },
    { "on_reject",        WS_ON_REJECT },
    { "limit handler",    WS_ON_LIMIT },
    { "drop handler",     WS_ON_DROP },
    { "back end",         0 },
};

/* As the warning about a callback that has died names it. */
const char *ws_handler_name(evws_event_kind kind)
{
    return ws_events[kind].handler;
}

/* ---- arguments ---- */

static SV *headers_rv(pTHX_ ws_frame *f)
{
    return newRV_noinc((SV *)ws_event_headers(aTHX_ f->ctx, &f->event));
}

/* The server's answer, if it has refused an upgrade. */
static void take_refusal(pTHX_ ws_frame *f)
{
    evws_refusal refusal;
    HV *hash;

    if (!evws_event_refusal(f->ctx->engine, &refusal))
        return;
    hash = newHV();
    (void)hv_stores(hash, "status", newSVuv(refusal.status));
    (void)hv_stores(hash, "body", ws_peer_sv(aTHX_ refusal.body));
    (void)hv_stores(hash, "headers", headers_rv(aTHX_ f));
    f->arg[f->args++] = newRV_noinc((SV *)hash);
}

/* What follows $conn. The payload is borrowed from the engine: copied here,
 * before anything else can call it. */
static void take_arguments(pTHX_ ws_frame *f)
{
    const evws_event *event = &f->event;
    SV **number = f->ctx->globals->number;

    f->arg[f->args++] = ws_target_rv(aTHX_ f->ctx, f->target);
    switch (event->kind) {
    case EVWS_EVENT_MESSAGE:
        f->arg[f->args++] = ws_payload_sv(aTHX_ f->ctx, event->payload);
        if (f->callbacks->utf8 && !event->is_binary)
            (void)sv_utf8_decode(f->arg[1]);
        f->arg[f->args++] = SvREFCNT_inc_simple_NN(number[event->is_binary ? 1 : 0]);
        f->arg[f->args++] = SvREFCNT_inc_simple_NN(number[1]);
        break;
    case EVWS_EVENT_CONNECT:
        f->arg[f->args++] = headers_rv(aTHX_ f);
        break;
    case EVWS_EVENT_CLOSE:
        f->arg[f->args++] = newSViv(event->code);
        f->arg[f->args++] = event->payload.length ? ws_peer_sv(aTHX_ event->payload) : newSV(0);
        break;
    case EVWS_EVENT_CONNECT_FAILED:
        f->arg[f->args++] = ws_peer_sv(aTHX_ event->payload);
        take_refusal(aTHX_ f);
        break;
    case EVWS_EVENT_PONG:
    case EVWS_EVENT_ERROR:
        f->arg[f->args++] = ws_peer_sv(aTHX_ event->payload);
        break;
    case EVWS_EVENT_DROPPED:
        f->arg[f->args++] = newSVuv(event->cut);
        break;
    case EVWS_EVENT_RATE_LIMITED:
        f->arg[f->args++] = newSVpv(ws_option_name(event->code == EVWS_RATE_MESSAGES ? WS_OPT_MAX_MESSAGE_RATE
                                                                                     : WS_OPT_MAX_BYTE_RATE), 0);
        break;
    default:
        break;
    }
}

/* ---- one event ---- */

/* The connection of a CONNECT event: a client's object exists since connect(),
 * a server's is made now, so that what never upgrades costs no object. */
static ws_connection *connected(pTHX_ ws_frame *f)
{
    ws_context *ctx = f->ctx;
    ws_connection *conn = ws_watch_connection(ctx->watch, f->event.id);
    ws_listener *listener;

    if (conn) {
        ws_callbacks_forget_url(aTHX_ conn->callbacks);
        return conn;
    }
    listener = f->event.listener ? ws_watch_listener(ctx->watch, f->event.listener) : NULL;
    if (listener) {
        conn = ws_connection_new(aTHX_ ctx, f->event.id, ws_callbacks_ref(listener->callbacks));
        conn->stash = ws_handshake_take_stash(aTHX_ ctx, f->event.id);
        return conn;
    }
    /* DESTROY was called on it while it was connecting: nobody will close it. */
    (void)evws_close(ctx->engine, f->event.id, 1000, NULL, 0);
    return NULL;
}

/* The events that ask for an answer come from a listener before there is a
 * connection, or from one that was adopted and has a callback of its own. */
static void take_question(pTHX_ ws_frame *f)
{
    ws_watch *watch = f->ctx->watch;
    ws_listener *listener = f->event.listener ? ws_watch_listener(watch, f->event.listener) : NULL;
    ws_connection *adopted = f->event.listener ? NULL : ws_watch_connection(watch, f->event.id);
    const ws_callbacks *callbacks = listener ? listener->callbacks : adopted ? adopted->callbacks : NULL;

    f->asked = getpid();
    if (!callbacks)
        return;
    f->code = SvREFCNT_inc(callbacks->on[ws_events[f->event.kind].callback]);
    if (f->event.kind == EVWS_EVENT_REQUEST) {
        f->arg[f->args++] = newRV_noinc((SV *)ws_event_request(aTHX_ f->ctx, &f->event));
    } else {
        if (f->event.is_foreign)
            f->origins = (AV *)SvREFCNT_inc((SV *)callbacks->origins);
        f->arg[f->args++] = headers_rv(aTHX_ f);
        f->handshake = ws_handshake_new(aTHX_ f->ctx, f->event.id, (HV *)SvRV(f->arg[0]));
        f->target = f->handshake->sv;
        f->arg[f->args++] = newRV_inc(f->target);
    }
}

/* There is no connection, and so no object: ($why, $peer, \%headers). */
static void take_rejected(pTHX_ ws_frame *f)
{
    ws_listener *listener = ws_watch_listener(f->ctx->watch, f->event.listener);

    if (!listener)
        return;
    f->code = SvREFCNT_inc(listener->callbacks->on[WS_ON_REJECT]);
    f->arg[f->args++] = ws_peer_sv(aTHX_ f->event.payload);
    f->arg[f->args++] = ws_address_of(aTHX_ f->ctx, f->event.id);
    f->arg[f->args++] = headers_rv(aTHX_ f);
}

/* One call of shutdown() is answered. */
static void take_shutdown(pTHX_ ws_frame *f)
{
    SV *code = f->ctx->at_shutdown ? av_shift(f->ctx->at_shutdown) : NULL;

    if (code && SvROK(code)) {
        f->code = code;
        f->arg[f->args++] = newSVuv(f->event.cut);
    } else {
        SvREFCNT_dec(code);
    }
}

/* The back end hears which topics have subscribers: $object->topic_used($name), or topic_unused. */
static void take_topic(pTHX_ ws_frame *f)
{
    SV *object = f->ctx->back_end;
    GV *method = object ? gv_fetchmethod(SvSTASH(SvRV(object)), f->event.code ? "topic_used" : "topic_unused") : NULL;

    if (!method || !GvCV(method))
        return;
    f->code = SvREFCNT_inc_simple_NN((SV *)GvCV(method));
    f->arg[f->args++] = newSVsv(object);
    f->arg[f->args++] = newSVpvn(WS_TEXT(f->event.payload), f->event.payload.length);
}

/* Does what the event means for the objects, and finds the callback for it. */
void ws_take_event(pTHX_ ws_frame *f)
{
    const evws_event_kind kind = f->event.kind;
    ws_connection *conn;
    SV *code;

    f->answered = !ws_is_question(kind);
    f->refusal = kind == EVWS_EVENT_HANDSHAKE ? 403 : 500;
    switch (kind) {
    case EVWS_EVENT_HANDSHAKE:
    case EVWS_EVENT_REQUEST:
        take_question(aTHX_ f);
        return;
    case EVWS_EVENT_HANDSHAKE_ENDED:
        SvREFCNT_dec((SV *)ws_handshake_take_stash(aTHX_ f->ctx, f->event.id));
        return;
    case EVWS_EVENT_LISTENER_ENDED:
        ws_listener_drop(aTHX_ f->ctx, ws_watch_listener(f->ctx->watch, f->event.listener));
        return;
    case EVWS_EVENT_REJECTED:
        take_rejected(aTHX_ f);
        return;
    case EVWS_EVENT_SHUT_DOWN:
        take_shutdown(aTHX_ f);
        return;
    case EVWS_EVENT_TOPIC_USED:
        take_topic(aTHX_ f);
        return;
    default:
        break;
    }
    conn = kind == EVWS_EVENT_CONNECT ? connected(aTHX_ f) : ws_watch_connection(f->ctx->watch, f->event.id);
    if (!conn)
        return;
    f->target = SvREFCNT_inc_simple_NN(conn->sv);
    f->callbacks = ws_callbacks_ref(conn->callbacks);
    code = f->callbacks->on[ws_events[kind].callback];
    if (code) {
        f->code = SvREFCNT_inc_simple_NN(code);
        take_arguments(aTHX_ f);
    } else if (kind == EVWS_EVENT_CONNECT_FAILED && f->callbacks->url && !f->ctx->told) {
        f->ctx->told = TRUE;
        f->code = SvREFCNT_inc_simple_NN((SV *)f->ctx->globals->unheard);
        f->arg[f->args++] = ws_target_rv(aTHX_ f->ctx, f->target);
        f->arg[f->args++] = ws_peer_sv(aTHX_ f->event.payload);
        f->arg[f->args++] = newSVsv(f->callbacks->url);
    }
    if (kind == EVWS_EVENT_CLOSE || kind == EVWS_EVENT_CONNECT_FAILED)
        ws_connection_close(aTHX_ conn);
}
