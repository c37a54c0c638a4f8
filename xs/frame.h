/* What dispatch.c and events.c share: a running drain. */
#ifndef WS_FRAME_H
#define WS_FRAME_H

#include "websockets.h"

#define WS_MAX_ARGS 4

/* One running drain. It lives on the C stack of protected_run's caller, and
 * frame_leave undoes it however it is left. Several may be under way, and not
 * only one inside of another: where callbacks switch coroutines, each with a C
 * stack of its own, drains end in any order. So they are not linked. */
struct ws_frame {
    ws_context *ctx;            /* counted */
    evws_event event;           /* payload and headers are valid only until they are copied */
    /* The event being delivered. All are owned. */
    SV *target;                 /* the connection's scalar, or the handshake's */
    ws_callbacks *callbacks;
    SV *code;                   /* what is called; NULL: nothing is */
    SV *arg[WS_MAX_ARGS];
    int args;
    AV *origins;                /* patterns, one of which the Origin has to match first; owned, or NULL */
    ws_connection *closed;      /* that of `target`, while its on_close runs; or NULL */
    ws_handshake *handshake;    /* that of `target`, if the event is one; NULL: it is not */
    bool answered;              /* the event asks nothing, or got its answer, or will get it later */
    Pid_t asked;                /* the process that is to answer */
    U32 refusal;                /* the status to answer with if it gets none */
    /* What the eval caught. */
    const char *failed;         /* the handler that died; NULL: none */
    SV *error;
    bool reporting;             /* under way, or it died itself */
    bool finished;              /* the XSUB came to its end */
    bool called;                /* a callback was, by the XSUB */
    bool flushed;               /* what the events have queued was written */
    bool errsv_empty;           /* $@ was, and is made so again; otherwise it is saved */
};

/* Whether the callback of an event answers it. */
#define ws_is_question(kind) ((kind) == EVWS_EVENT_HANDSHAKE || (kind) == EVWS_EVENT_REQUEST)

/* ---- events.c ---- */
SV *ws_headers_rv(pTHX_ ws_frame *f);
void ws_take_refusal(pTHX_ ws_frame *f);
ws_connection *ws_connected(pTHX_ ws_frame *f);
void ws_take_question(pTHX_ ws_frame *f);
void ws_take_rejected(pTHX_ ws_frame *f);
void ws_take_shutdown(pTHX_ ws_frame *f);
void ws_take_topic(pTHX_ ws_frame *f);

#endif
