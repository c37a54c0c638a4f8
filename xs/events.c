/* Events that come once in the life of a connection, or less often: what they mean for the objects, and the arguments of
 * their callbacks. What comes with each message is in dispatch.c, since a call to another file costs it a few percent.
 */
#include "frame.h"

SV *ws_headers_rv(pTHX_ ws_frame *f)
{
    return newRV_noinc((SV *)ws_event_headers(aTHX_ f->ctx, &f->event));
}

/* The server's answer, if it has refused an upgrade. */
void ws_take_refusal(pTHX_ ws_frame *f)
{
    evws_refusal refusal;
    HV *hash;

    if (!evws_event_refusal(f->ctx->engine, &refusal))
        return;
    hash = newHV();
    (void)hv_stores(hash, "status", newSVuv(refusal.status));
    (void)hv_stores(hash, "body", ws_peer_sv(aTHX_ refusal.body));
    (void)hv_stores(hash, "headers", ws_headers_rv(aTHX_ f));
    f->arg[f->args++] = newRV_noinc((SV *)hash);
}

/* The connection of a CONNECT event: a client's object exists since connect(),
 * a server's is made now, so that what never upgrades costs no object. */
ws_connection *ws_connected(pTHX_ ws_frame *f)
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
    (void)evws_close(ctx->engine, f->event.id, 1000, WS_NO_BYTES);
    return NULL;
}

/* The events that ask for an answer come from a listener before there is a
 * connection, or from one that was adopted and has a callback of its own. */
void ws_take_question(pTHX_ ws_frame *f)
{
    ws_watch *watch = f->ctx->watch;
    ws_listener *listener = f->event.listener ? ws_watch_listener(watch, f->event.listener) : NULL;
    ws_connection *adopted = f->event.listener ? NULL : ws_watch_connection(watch, f->event.id);
    const ws_callbacks *callbacks = listener ? listener->callbacks : adopted ? adopted->callbacks : NULL;

    f->asked = getpid();
    if (!callbacks)
        return;
    f->code = SvREFCNT_inc(callbacks->on[f->event.kind == EVWS_EVENT_REQUEST ? WS_ON_REQUEST : WS_ON_HANDSHAKE]);
    if (f->event.kind == EVWS_EVENT_REQUEST) {
        f->arg[f->args++] = newRV_noinc((SV *)ws_event_request(aTHX_ f->ctx, &f->event));
    } else {
        if (f->event.is_foreign)
            f->origins = (AV *)SvREFCNT_inc((SV *)callbacks->origins);
        f->arg[f->args++] = ws_headers_rv(aTHX_ f);
        f->handshake = ws_handshake_new(aTHX_ f->ctx, f->event.id, (HV *)SvRV(f->arg[0]));
        f->target = f->handshake->sv;
        f->arg[f->args++] = newRV_inc(f->target);
    }
}

/* There is no connection, and so no object: ($why, $peer, \%headers). */
void ws_take_rejected(pTHX_ ws_frame *f)
{
    ws_listener *listener = ws_watch_listener(f->ctx->watch, f->event.listener);

    if (!listener)
        return;
    f->code = SvREFCNT_inc(listener->callbacks->on[WS_ON_REJECT]);
    f->arg[f->args++] = ws_peer_sv(aTHX_ f->event.payload);
    f->arg[f->args++] = ws_address_of(aTHX_ f->ctx, f->event.id);
    f->arg[f->args++] = ws_headers_rv(aTHX_ f);
}

/* One call of shutdown() is answered. */
void ws_take_shutdown(pTHX_ ws_frame *f)
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
void ws_take_topic(pTHX_ ws_frame *f)
{
    SV *object = f->ctx->back_end;
    GV *method = object ? gv_fetchmethod(SvSTASH(SvRV(object)), f->event.code ? "topic_used" : "topic_unused") : NULL;

    if (!method || !GvCV(method))
        return;
    f->code = SvREFCNT_inc_simple_NN((SV *)GvCV(method));
    f->arg[f->args++] = newSVsv(object);
    f->arg[f->args++] = newSVpvn(WS_TEXT(f->event.payload), f->event.payload.length);
}
