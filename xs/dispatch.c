/* The drain loop: takes events out of the engine and calls back into Perl.
 *
 * Every entry point of watch.c ends here. The engine has returned before any
 * Perl code runs, so a callback may die, exit, destroy the context or run the
 * loop again: no Rust frame is ever on the stack that is unwound.
 *
 * A drain sets up one eval however many events it delivers, and none when no
 * event has a callback. A callback that dies unwinds to that eval; what its
 * event still needs is done then, and the drain goes on under a new one.
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
        f->arg[f->args++] = ws_headers_rv(aTHX_ f);
        break;
    case EVWS_EVENT_CLOSE:
        f->arg[f->args++] = newSViv(event->code);
        f->arg[f->args++] = event->payload.length ? ws_peer_sv(aTHX_ event->payload) : newSV(0);
        break;
    case EVWS_EVENT_CONNECT_FAILED:
        f->arg[f->args++] = ws_peer_sv(aTHX_ event->payload);
        ws_take_refusal(aTHX_ f);
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

/* Does what the event means for the objects, and finds the callback for it. */
static void take_event(pTHX_ ws_frame *f)
{
    const evws_event_kind kind = f->event.kind;
    ws_connection *conn;
    SV *code;

    f->answered = !ws_is_question(kind);
    f->refusal = kind == EVWS_EVENT_HANDSHAKE ? 403 : 500;
    switch (kind) {
    case EVWS_EVENT_HANDSHAKE:
    case EVWS_EVENT_REQUEST:
        ws_take_question(aTHX_ f);
        return;
    case EVWS_EVENT_HANDSHAKE_ENDED:
        SvREFCNT_dec((SV *)ws_handshake_take_stash(aTHX_ f->ctx, f->event.id));
        return;
    case EVWS_EVENT_LISTENER_ENDED:
        ws_listener_drop(aTHX_ f->ctx, ws_watch_listener(f->ctx->watch, f->event.listener));
        return;
    case EVWS_EVENT_REJECTED:
        ws_take_rejected(aTHX_ f);
        return;
    case EVWS_EVENT_SHUT_DOWN:
        ws_take_shutdown(aTHX_ f);
        return;
    case EVWS_EVENT_TOPIC_USED:
        ws_take_topic(aTHX_ f);
        return;
    default:
        break;
    }
    conn = kind == EVWS_EVENT_CONNECT ? ws_connected(aTHX_ f) : ws_watch_connection(f->ctx->watch, f->event.id);
    if (!conn)
        return;
    f->target = SvREFCNT_inc_simple_NN(conn->sv);
    f->callbacks = ws_callbacks_ref(conn->callbacks);
    code = f->callbacks->on[ws_events[kind].callback];
    if (code) {
        f->code = SvREFCNT_inc_simple_NN(code);
        take_arguments(aTHX_ f);
        if (kind == EVWS_EVENT_CLOSE) {
            f->closed = conn;
            ws_connection_keep_stats(aTHX_ conn);
        }
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

/* A question without an answer: its callback died, or is not there any more. A child that was
 * forked in the callback, and has left it by exit, has nothing to say to the parent's client. */
static void refuse(pTHX_ ws_frame *f)
{
    if (f->answered)
        return;
    f->answered = TRUE;
    if (getpid() != f->asked)
        return;
    if (f->handshake) {
        ws_handshake_refuse(aTHX_ f->handshake, f->refusal);
    } else {
        const evws_response response = { .status = f->refusal };

        if (f->event.kind == EVWS_EVENT_REQUEST)
            (void)evws_request_answer(f->ctx->engine, f->event.id, &response);
        else
            (void)evws_handshake_reject(f->ctx->engine, f->event.id, &response);
    }
}

/* What remains to be done for the event, whether or not its callback died.
 * Letting go can run Perl code (DESTROY), so each is taken out first. */
static void finish_event(pTHX_ ws_frame *f)
{
    SV *target = f->target;
    SV *code = f->code;
    SV *origins = (SV *)f->origins;
    ws_callbacks *callbacks = f->callbacks;

    refuse(aTHX_ f);
    f->handshake = NULL;
    f->origins = NULL;
    if (f->closed)
        ws_connection_forget_stats(aTHX_ f->closed);
    f->closed = NULL;
    while (f->args) {
        SV *arg = f->arg[--f->args];

        if (f->args == 0 && target)
            ws_recycle_rv(aTHX_ f->ctx, arg, target);
        else if (f->args == 1 && f->event.kind == EVWS_EVENT_MESSAGE)
            ws_recycle_payload(aTHX_ f->ctx, arg);
        else
            SvREFCNT_dec(arg);
    }
    f->target = NULL;
    f->code = NULL;
    f->callbacks = NULL;
    SvREFCNT_dec(code);
    SvREFCNT_dec(origins);
    ws_callbacks_unref(aTHX_ callbacks);
    SvREFCNT_dec(target);
}

/* Goes on to the next event that has a callback. FALSE: there is none, or the
 * context is gone. What the callbacks have queued is written once in between:
 * who sends from on_drain goes on in the next turn of the loop. */
static bool next_call(pTHX_ ws_frame *f)
{
    for (;;) {
        /* What perl made along the way of one event goes before the next. That can run Perl code. */
        FREETMPS;
        if (!f->ctx->engine)
            return FALSE;
        if (evws_poll_event(f->ctx->engine, &f->event) != EVWS_EVENT_NONE) {
            take_event(aTHX_ f);
            WS_LOG(f->ctx);
            if (f->ctx->engine && (f->code || f->origins))
                return TRUE;
            finish_event(aTHX_ f);
        } else if (!f->flushed) {
            f->flushed = TRUE;
            evws_flush(f->ctx->engine);
        } else {
            return FALSE;
        }
    }
}

/* ---- calls into Perl: these may die ---- */

/* G_DISCARD would open a scope and free the temporaries of each call by itself;
 * the drain has one scope, and frees them once the event is finished. */
static void call(pTHX_ ws_frame *f, I32 flags)
{
    dSP;
    const SSize_t base = SP - PL_stack_base;
    int i;

    PUSHMARK(SP);
    EXTEND(SP, WS_MAX_ARGS);
    for (i = 0; i < f->args; i++)
        PUSHs(f->arg[i]);
    PUTBACK;
    call_sv(f->code, flags | G_VOID);
    /* An XSUB may leave a result even when none is wanted. */
    PL_stack_sp = PL_stack_base + base;
}

/* What the callback returns counts. Reading it can run Perl code (overloading, tie). */
static void call_for_answer(pTHX_ ws_frame *f)
{
    SV *returned = &PL_sv_yes;

    ENTER;
    SAVETMPS;
    if (f->origins && !(ws_origin_matches(aTHX_ f->origins, f->arg[0]) && f->ctx->engine)) {
        refuse(aTHX_ f);
    } else {
        if (f->code)
            returned = ws_call(aTHX_ f->code, f->arg, f->args, G_SCALAR);
        /* From here on a die is about what was returned. */
        f->refusal = 500;
        if (f->handshake)
            ws_handshake_returned(aTHX_ f->handshake, returned);
        else
            ws_answer_request(aTHX_ f->ctx, f->event.id, returned);
        f->answered = TRUE;
    }
    FREETMPS;
    LEAVE;
}

/* Also under the eval: $SIG{__WARN__} and an exception object's own
 * stringification are the program's code. */
static void report(pTHX_ ws_frame *f)
{
    f->reporting = TRUE;
    warn("EV::Websockets: exception in %s: %" SVf, f->failed, SVfARG(f->error));
    f->reporting = FALSE;
    f->failed = NULL;
}

XS(ws_drain_xsub)
{
    dXSARGS;
    ws_frame *f = ws_globals_here(aTHX)->handed;

    PERL_UNUSED_VAR(items);
    PERL_UNUSED_VAR(ax);
    SP -= items;
    PUTBACK;
    ENTER;
    SAVETMPS;
    if (f->failed)
        report(aTHX_ f);
    while (f->code || f->origins || next_call(aTHX_ f)) {
        f->called = TRUE;
        if (ws_is_question(f->event.kind))
            call_for_answer(aTHX_ f);
        else
            call(aTHX_ f, 0);
        FREETMPS;
        finish_event(aTHX_ f);
    }
    f->finished = TRUE;
    LEAVE;
    XSRETURN_EMPTY;
}

/* In place of an on_error: a client that cannot connect, and whose program does not
 * ask, would be silent. ($conn, $text, $url) */
XS(ws_unheard_xsub)
{
    dXSARGS;

    if (items == 3)
        warn("EV::Websockets: %s: %s (there is no on_error; it is told once for each context)",
             ws_shown(aTHX_ ST(2)), SvPV_nolen(ST(1)));
    XSRETURN_EMPTY;
}

/* ---- the eval ---- */

static bool errsv_is_empty(pTHX)
{
    SV *error = ERRSV;

    return SvTYPE(error) < SVt_PVMG && !SvROK(error) && (!SvOK(error) || (SvPOK(error) && !SvCUR(error)));
}

/* On the save stack: runs when the drain returns, and when exit() unwinds it, or
 * the coroutine that it is in is cancelled: then ws_drain does not go on. */
static void frame_leave(pTHX_ void *frame)
{
    ws_frame *f = (ws_frame *)frame;

    finish_event(aTHX_ f);
    if (f->errsv_empty && !errsv_is_empty(aTHX))
        sv_setpvs(ERRSV, "");
    SvREFCNT_dec(f->error);
    f->error = NULL;
    if (!f->finished)
        ws_context_unref(aTHX_ f->ctx);
}

/* A callback died. Its event is finished now, its error is told under the next eval. */
static void caught(pTHX_ ws_frame *f)
{
    if (f->reporting) {
        PerlIO_printf(PerlIO_stderr(), "EV::Websockets: exception in %s (and one while warning about it)\n",
                      f->failed);
        f->reporting = FALSE;
        f->failed = NULL;
        return;
    }
    f->failed = f->origins ? "origins" : ws_events[f->event.kind].handler;
    SvREFCNT_dec(f->error);
    f->error = newSVsv(ERRSV);
    finish_event(aTHX_ f);
}

/* A stack of its own keeps `last` and `return` in a callback from reaching
 * into the code that called EV::run. While callbacks run ev_prepare is active:
 * a loop run by one of them first settles what this drain has not come to. */
static void protected_run(pTHX_ ws_frame *f)
{
    dSP;

    WS_WAKE(f->ctx);
    ENTER;
    PUSHSTACKi(PERLSI_UNKNOWN);
    f->errsv_empty = errsv_is_empty(aTHX);
    if (!f->errsv_empty)
        save_scalar(PL_errgv);
    SAVEDESTRUCTOR_X(frame_leave, f);
#if PERL_VERSION_GE(5, 14, 0)
    /* The first event, often the only one, is called at once: an eval around
     * one call needs no XSUB. Before 5.14 a DESTROY could clear $@ on the way
     * out of a die, which would then go unnoticed. */
    if (f->code && !ws_is_question(f->event.kind)) {
        call(aTHX_ f, G_EVAL | G_DISCARD);
        if (SvROK(ERRSV) || (SvPOK(ERRSV) && SvCUR(ERRSV))) {
            caught(aTHX_ f);
        } else {
            finish_event(aTHX_ f);
            f->finished = !next_call(aTHX_ f);
        }
    }
#endif
    while (!f->finished) {
        SPAGAIN;
        PUSHMARK(SP);
        PUTBACK;
        /* The XSUB takes it at once: no Perl code runs before, not even a
         * debugger's. Without G_NOARGS: an XSUB called that way is given the
         * @_ around it. */
        f->ctx->globals->handed = f;
        call_sv((SV *)f->ctx->globals->drain, G_EVAL | G_VOID | G_DISCARD | G_NODEBUG);
        if (!f->finished)
            caught(aTHX_ f);
    }
    POPSTACK;
    LEAVE;
}

/* After any call into the engine from the loop: delivers every event, then
 * tells the loop what to wait for. The context may be gone when this returns.
 * TRUE: it is not, and a callback was called. */
bool ws_drain(pTHX_ ws_context *ctx)
{
    ws_frame frame;
    bool called;

    ctx->refs++;
    Zero(&frame, 1, ws_frame);
    frame.ctx = ctx;
    frame.answered = TRUE;
    /* libev has no scope around its callbacks: temporaries would stay until EV::run returns. They are made by lookups (a
     * DESTROY that is found by AUTOLOAD, too), and by what is taken out of a hash. */
    ENTER;
    SAVETMPS;
    /* What is logged goes to a callback, too: before any event that has one. */
    if (ctx->globals->logs) {
        protected_run(aTHX_ &frame);
        called = frame.called;
    } else {
        called = next_call(aTHX_ &frame);
        if (called)
            protected_run(aTHX_ &frame);
    }
    if (ctx->engine) {
        ws_watch_settle(aTHX_ ctx);
        ws_context_check(aTHX_ ctx);
    }
    FREETMPS;
    if (ctx->globals->logs) {
        called = ws_log_end(aTHX_ ctx) && called;
    } else {
        called = called && ctx->engine;
        ws_context_unref(aTHX_ ctx);
    }
    /* What is left by now is of a context that is gone. */
    FREETMPS;
    LEAVE;
    return called;
}
