/* What the files of xs/ share: the types, and each file's interface.
 *
 * Calls go one way, from the .xs files down the line that docs/ARCHITECTURE.md
 * draws, and from each to the C ABI of include/evws.h. There are three that go up:
 * libev calls watch.c, which has dispatch.c deliver what happened (ws_drain); log.c
 * lets go of a context that its callback may have dropped (ws_context_unref); and
 * whoever needs the interpreter's state asks Websockets.xs (ws_globals_here).
 *
 * The program's Perl code runs where a callback is called: in dispatch.c, in log.c,
 * and for an answer through ws_call of values.c. It also runs wherever a value is
 * read (tie, overloading) or let go of (DESTROY). libev is known to watch.c
 * alone. Nothing here keeps state in C statics: it is in ws_globals (one an
 * interpreter) or in an object.
 */
#ifndef WS_WEBSOCKETS_H
#define WS_WEBSOCKETS_H

#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"
#include "ppport.h"

#include "evws.h"

#include <sys/types.h>
#include <unistd.h>

typedef struct ws_context ws_context;
typedef struct ws_connection ws_connection;
typedef struct ws_handshake ws_handshake;
typedef struct ws_prepared ws_prepared;     /* private to prepared.c */
typedef struct ws_watch ws_watch;           /* private to watch.c */
typedef struct ws_frame ws_frame;           /* private to frame.h */

/* The callbacks that every connection has, and those of a listener or an adopted connection, in the order of `on` below. */
enum { WS_ON_CONNECT, WS_ON_MESSAGE, WS_ON_CLOSE, WS_ON_ERROR, WS_ON_PONG, WS_ON_DRAIN, WS_ON_LIMIT,
       WS_ON_DROP, WS_ON_HANDSHAKE, WS_ON_REQUEST, WS_ON_REJECT, WS_CALLBACK_COUNT };

/* One set for all connections of a listener: ten thousand connections cost
 * ten thousand pointers, not sixty thousand references. */
typedef struct ws_callbacks {
    U32 refs;
    SV *on[WS_CALLBACK_COUNT];              /* a CV, an object with &{}, or NULL */
    AV *origins;                            /* patterns, one of which a foreign Origin has to match, or NULL */
    SV *url;                                /* of a client that has no on_error, until it is connected; or NULL */
    bool utf8;                              /* text messages are characters: see ws_connection */
} ws_callbacks;

typedef struct ws_listener {
    uint64_t id;
    SV *name;
    ws_callbacks *callbacks;
} ws_listener;

/* State of one interpreter. */
typedef struct ws_globals {
    HV *connection_stash;
    HV *handshake_stash;
    CV *drain;                              /* the XSUB that runs under a drain's eval */
    CV *unheard;                            /* what is called for a client without on_error that failed */
    SV *number[2];                          /* read-only 0 and 1: PL_sv_yes would be copied on every call */
    ws_frame *handed;                       /* to the XSUB that is about to be called */
    struct ws_context *contexts;            /* all of them, see log.c */
    U32 made;                               /* how many there have been */
    SV *on_log;                             /* a CV that gets the lines of the log, or NULL */
    CV *log_failed;                         /* the XSUB that warns when it has died */
    bool debug;                             /* lines go to STDERR, unless there is on_log */
    bool logs;                              /* one of the two is on */
    bool in_log;                            /* on_log runs: nothing that it does makes a line */
    bool gives_memory;                      /* a buffer from malloc(3) may become that of a scalar */
#ifdef PERL_IMPLICIT_CONTEXT
    PerlInterpreter *perl;                  /* whose state it is */
#endif
} ws_globals;

/* INVARIANT: engine is NULL from the moment the context is destroyed; every
 * call into Perl may have done that, so it is looked at again afterwards. */
struct ws_context {
    SV *sv;                                 /* the Perl object; not to be looked at once it is destroyed */
    U32 refs;                               /* the Perl object, running drains, connection objects */
    bool told;                              /* a client without on_error has failed: nothing is said about others */
    bool settle;                            /* ev_prepare runs: the engine has work waiting */
    pid_t pid;                              /* the process that made it */
    evws_context *engine;
    ws_watch *watch;
    ws_globals *globals;
    SV *spare_rv;                           /* argument SVs that may be used again; NULL while in use */
    SV *spare_payload;
    HV *settings;                           /* options of new() that connect and listen look at */
    AV *at_shutdown;                        /* callbacks of shutdown(), or undef, one for each call; NULL: none */
    ws_context *next, **previous;           /* in the list of its interpreter's */
    U32 number;                             /* how many were made before, for the log */
    HV *frames;                             /* by topic, what its messages are framed by; or NULL */
    SV *back_end;                           /* carries publications to other processes; or NULL */
    HV *stashes;                            /* by id, of handshakes that were accepted, until there is a connection; or NULL */
#ifdef PERL_IMPLICIT_CONTEXT
    PerlInterpreter *perl;
#endif
};

/* Lives exactly as long as the blessed scalar it belongs to.
 * While `open`, its context owns one reference to that scalar. */
struct ws_connection {
    SV *sv;
    ws_context *ctx;                        /* counted */
    uint64_t id;
    ws_callbacks *callbacks;                /* NULL once it is not open any more */
    HV *stash;                              /* made at the first call of stash() */
    SV *handle;                             /* of an adopted one, which keeps it until it is freed; or NULL */
    evws_traffic *last;                     /* what it has counted, while on_close runs; or NULL */
    bool open;                              /* in a slot of ctx: the engine may know id */
    bool destroyed;                         /* DESTROY was called by hand */
    bool utf8;                              /* text messages are characters to the program */
    bool in_fragments;                      /* a message of ours has begun, and not ended */
    bool fragments_binary;                  /* it is no text */
};

/* A client that waits for the program's decision. Lives exactly as long as the
 * blessed scalar it belongs to; dropped undecided, it refuses. */
struct ws_handshake {
    SV *sv;
    ws_context *ctx;                        /* counted */
    uint64_t id;
    HV *headers;                            /* the hash that on_handshake gets, too */
    AV *protocols;                          /* those that the client asks for */
    SV *protocol;                           /* the one that was picked, or NULL */
    HV *stash;                              /* the connection's; made at the first call of stash() */
    Pid_t pid;                              /* whose client this is */
    bool decided;
};

/* ---- Websockets.xs ---- */
ws_globals *ws_globals_here(pTHX);

/* ---- values.c ---- */
const char *ws_shown(pTHX_ SV *value);
void ws_must_be(pTHX_ const char *what, const char *name, const char *expected, SV *value) __attribute__noreturn__;
SV *ws_plain_scalar(pTHX_ SV *value);
SV *ws_plain_string(pTHX_ SV *value);
NV ws_number(pTHX_ SV *value);
bool ws_has_text(pTHX_ SV *value);
bool ws_overloads(pTHX_ SV *value, const char *method);
AV *ws_array(SV *value);
HV *ws_hash(SV *value);
AV *ws_plain_array(pTHX_ SV *value);
evws_bytes ws_bytes(pTHX_ SV *value);
bool ws_bytes_are(evws_bytes bytes, const char *word);
SV *ws_element(pTHX_ AV *array, SSize_t index);
SV *ws_entry(pTHX_ HV *hash, const char *name);
bool ws_next_entry(pTHX_ HV *hash, SV **name, SV **value);
SV *ws_text_sv(pTHX_ evws_bytes text);
SV *ws_count_sv(pTHX_ uint64_t count);
SV *ws_peer_sv(pTHX_ evws_bytes bytes);
void ws_return_list(pTHX_ AV *list);
SV *ws_call(pTHX_ SV *code, SV **arg, int args, I32 flags);
bool ws_died(pTHX);
SV *ws_call_helper(pTHX_ const char *name, SV **arg, int args);

/* ---- lists.c ---- */
SV *ws_list(pTHX);
SV *ws_names(pTHX_ const char *what, const char *name, SV *value);
SV *ws_entries(pTHX_ const char *what, const char *name, SV *value, AV *patterns);
SV *ws_headers_of_hash(pTHX_ const char *what, HV *hash);

/* A list of structures, made by ws_list, gets one more; a list of the library learns where it is. */
#define WS_LIST_ADD(list, item) sv_catpvn(list, (const char *)&(item), sizeof (item))
#define WS_LIST_COUNT(list, type) (SvCUR(list) / sizeof(type))
#define WS_LIST_GIVE(list, place) STMT_START { \
        SV *given_ = (list); \
        (place).item = (void *)SvPVX(given_); \
        (place).count = SvCUR(given_) / sizeof *(place).item; \
    } STMT_END

/* ---- object.c ---- */
int ws_forget_on_dup(pTHX_ MAGIC *mg, CLONE_PARAMS *params);
int ws_not_for_local(pTHX_ SV *sv, MAGIC *mg);
#define WS_OBJECT_VTBL(free) { 0, 0, 0, 0, free, 0, ws_forget_on_dup, ws_not_for_local }
SV *ws_object_new(pTHX_ HV *stash, MGVTBL *vtbl, void *data);
MAGIC *ws_object_magic(pTHX_ SV *sv, const MGVTBL *vtbl);
bool ws_is_bare_object(pTHX_ SV *value);
void *ws_object_invocant(pTHX_ SV *sv, const MGVTBL *vtbl, const char *kind, CV *method, bool required);
void *ws_object_owned(SV *sv, const MAGIC *mg);
SV *ws_invocant(pTHX_ SV **args, I32 count);
SV *ws_held_invocant(pTHX_ SV **args, I32 count);
void ws_settle_arguments(pTHX_ SV **args, I32 count);
bool ws_is_mere_copy(pTHX_ SV *sv);
const char *ws_method_name(pTHX_ CV *method);
SV *ws_context_object(pTHX_ ws_context *ctx, HV *stash);
ws_context *ws_context_invocant(pTHX_ SV *sv, CV *method);
void ws_context_dropped(pTHX_ SV *sv, CV *method);
ws_context *ws_context_new(pTHX_ SV *loop, HV *settings);
void ws_context_destroy(pTHX_ ws_context *ctx);
void ws_context_unref(pTHX_ ws_context *ctx);
evws_context *ws_context_engine(pTHX_ ws_context *ctx);
void ws_context_check(pTHX_ ws_context *ctx);

ws_connection *ws_connection_new(pTHX_ ws_context *ctx, uint64_t id, ws_callbacks *callbacks);
SV *ws_connection_opened(pTHX_ ws_connection *conn);
ws_connection *ws_connection_from_sv(pTHX_ SV *sv, CV *method);
const ws_connection *ws_connection_of(pTHX_ SV *sv);
void ws_connection_close(pTHX_ ws_connection *conn);
void ws_connection_keep_stats(pTHX_ ws_connection *conn);
void ws_connection_forget_stats(pTHX_ ws_connection *conn);
U32 ws_connection_state(ws_connection *conn);

ws_callbacks *ws_callbacks_ref(ws_callbacks *callbacks);
void ws_callbacks_unref(pTHX_ ws_callbacks *callbacks);
void ws_callbacks_forget_url(pTHX_ ws_callbacks *callbacks);
void ws_listener_drop(pTHX_ ws_context *ctx, ws_listener *listener);

/* ---- watch.c ---- */
void ws_watch_boot(pTHX);
ws_watch *ws_watch_new(pTHX_ ws_context *ctx, SV *loop);
void ws_watch_free(pTHX_ ws_watch *watch);
void ws_watch_stop(ws_watch *watch);
void ws_watch_settle(pTHX_ ws_context *ctx);
void ws_watch_wake(ws_context *ctx);
void ws_watch_rest(ws_context *ctx);
uint64_t ws_watch_turns(const ws_watch *watch);
U32 ws_watch_slots(const ws_watch *watch);
ws_connection *ws_watch_connection_at(const ws_watch *watch, U32 index);
ws_connection *ws_watch_connection(const ws_watch *watch, uint64_t id);
void ws_watch_set_connection(pTHX_ ws_watch *watch, uint64_t id, ws_connection *conn);
ws_listener *ws_watch_listener(const ws_watch *watch, uint64_t id);
ws_listener *ws_watch_listener_at(const ws_watch *watch, U32 index);
void ws_watch_set_listener(pTHX_ ws_watch *watch, uint64_t id, ws_listener *listener);

/* ---- dispatch.c ---- */
bool ws_drain(pTHX_ ws_context *ctx);
XS(ws_drain_xsub);
XS(ws_unheard_xsub);

/* ---- log.c ---- */
void ws_log_set_debug(pTHX_ bool on);
void ws_log_set_callback(pTHX_ SV *code);
void ws_log_enter(ws_context *ctx);
void ws_log_leave(ws_context *ctx);
void ws_log_take(pTHX_ ws_context *ctx);
bool ws_log_end(pTHX_ ws_context *ctx);
void ws_log_say(pTHX_ ws_context *ctx, U32 topic, const char *text);
XS(ws_log_failed_xsub);

/* ---- context.c ---- */
SV *ws_new(pTHX_ SV **args, I32 count);
SV *ws_connect(pTHX_ ws_context *ctx, SV **args, I32 count);
UV ws_listen(pTHX_ ws_context *ctx, SV **args, I32 count);
AV *ws_connections(pTHX_ ws_context *ctx);

/* ---- adopt.c ---- */
PerlIO *ws_file_of(pTHX_ SV *fh);
SV *ws_adopt(pTHX_ ws_context *ctx, SV **args, I32 count);

/* ---- connection.c ---- */
typedef enum { WS_PROTOCOL, WS_EXTENSIONS, WS_PEER_ADDRESS, WS_PEER_PORT, WS_TLS, WS_LATENCY } ws_fact_kind;
ws_connection *ws_open_connection(pTHX_ SV *self, CV *method);
bool ws_sent(pTHX_ ws_connection *conn, evws_status status);
evws_bytes ws_outgoing(pTHX_ const char *what, SV *data, evws_bytes text, bool is_text, bool characters);
bool ws_send(pTHX_ SV *self, CV *method, U32 kind, SV *data, bool characters);
evws_bytes ws_reason(pTHX_ const char *what, SV *given);
bool ws_send_fragment(pTHX_ SV *self, CV *method, SV *data, SV *is_binary, SV *is_final);
int64_t ws_close_code(pTHX_ const char *what, SV *given);
void ws_close(pTHX_ SV *self, CV *method, SV *code, SV *reason);
void ws_abort(pTHX_ ws_connection *conn);
void ws_pause(pTHX_ ws_connection *conn, bool pause);
void ws_forsake(pTHX_ SV *self, CV *method);
const char *ws_state(ws_connection *conn);
SV *ws_stash(pTHX_ ws_connection *conn);
bool ws_is_writable(ws_connection *conn);
UV ws_send_queue_size(ws_connection *conn);
SV *ws_fact(pTHX_ ws_connection *conn, ws_fact_kind which);

/* ---- fanout.c ---- */
SV *ws_prepare(pTHX_ ws_context *ctx, SV *data, SV **args, I32 count);
UV ws_broadcast(pTHX_ ws_context *ctx, SV *data, SV **args, I32 count);
SV *ws_publish(pTHX_ ws_context *ctx, SV *topic_sv, SV *data, SV **args, I32 count);
void ws_topic(pTHX_ ws_context *ctx, SV *topic_sv, SV **args, I32 count);
SV *ws_topic_position(pTHX_ ws_context *ctx, SV *topic_sv);
UV ws_subscribers(pTHX_ ws_context *ctx, SV *topic_sv);
AV *ws_topics(pTHX_ ws_context *ctx);
AV *ws_connection_topics(pTHX_ ws_connection *conn);
bool ws_subscribe(pTHX_ SV *self, CV *method, SV *topic_sv, SV **args, I32 count);
bool ws_unsubscribe(pTHX_ SV *self, CV *method, SV *topic_sv);

/* ---- prepared.c ---- */
SV *ws_prepared_new(pTHX_ ws_context *ctx, uint64_t number);
uint64_t ws_prepared_number(pTHX_ const char *what, ws_context *ctx, SV *value);
bool ws_is_prepared(pTHX_ SV *value);

/* ---- spare.c ---- */
SV *ws_target_rv(pTHX_ ws_context *ctx, SV *target);
void ws_recycle_rv(pTHX_ ws_context *ctx, SV *rv, SV *target);
SV *ws_payload_sv(pTHX_ ws_context *ctx, evws_bytes payload);
void ws_recycle_payload(pTHX_ ws_context *ctx, SV *sv);

/* ---- answer.c ---- */
HV *ws_event_headers(pTHX_ ws_context *ctx, const evws_event *event);
HV *ws_event_request(pTHX_ ws_context *ctx, const evws_event *event);
SV *ws_address_of(pTHX_ ws_context *ctx, uint64_t id);
SV *ws_port_of(pTHX_ ws_context *ctx, uint64_t id);
void ws_response_from_parts(pTHX_ const char *what, SV *status, SV *headers, SV *body, evws_response *out);
SV *ws_response_from_triple(pTHX_ const char *what, SV *triple, evws_response *out);
bool ws_origin_matches(pTHX_ AV *origins, SV *headers);
bool ws_answered(pTHX_ ws_context *ctx, const char *what, SV *given, evws_status status);
void ws_answer_request(pTHX_ ws_context *ctx, uint64_t id, SV *returned);

/* ---- handshake.c ---- */
ws_handshake *ws_handshake_new(pTHX_ ws_context *ctx, uint64_t id, HV *headers);
ws_handshake *ws_handshake_from_sv(pTHX_ SV *sv, CV *method);
bool ws_handshake_accept(pTHX_ ws_handshake *handshake, SV *headers);
bool ws_handshake_reject(pTHX_ ws_handshake *handshake, SV *status, SV *headers, SV *body);
void ws_handshake_refuse(pTHX_ ws_handshake *handshake, U32 status);
void ws_handshake_returned(pTHX_ ws_handshake *handshake, SV *returned);
SV *ws_handshake_stash(pTHX_ ws_handshake *handshake);
HV *ws_handshake_take_stash(pTHX_ ws_context *ctx, uint64_t id);
SV *ws_handshake_protocol(pTHX_ ws_handshake *handshake, SV *name);
bool ws_handshake_is_pending(const ws_handshake *handshake);

#include "options.h"

/* ---- errors.c ---- */
void ws_context_croak(pTHX_ ws_context *ctx, const char *method, SV *given) __attribute__noreturn__;
void ws_or_croak(pTHX_ ws_context *ctx, const char *method, SV *given, evws_status status);
void ws_options_or_croak(pTHX_ ws_context *ctx, const ws_options *o, evws_status status);

/* ---- tls.c ---- */
void ws_tls_connect(pTHX_ const ws_options *o, evws_client_tls *out);
void ws_tls_listen(pTHX_ const ws_options *o, evws_server_tls *out);
SV *ws_tls_of(pTHX_ ws_context *ctx, uint64_t id);

/* ---- statistics.c ---- */
SV *ws_connection_stats(pTHX_ ws_connection *conn);
SV *ws_context_stats(pTHX_ ws_context *ctx, SV *where);

/* ---- back_end.c ---- */
bool ws_has_back_end(pTHX_ ws_context *ctx, const ws_options *o);
SV *ws_ask_back_end(pTHX_ ws_context *ctx, const char *method, SV **arg, int args, const ws_options *o);
SV *ws_must_ask_back_end(pTHX_ ws_context *ctx, const char *method, SV **arg, int args, const ws_options *o);
void ws_set_backplane(pTHX_ ws_context *ctx, SV *object);

/* ---- listener.c ---- */
void ws_option_place(pTHX_ const ws_options *o, evws_listen_options *out);
AV *ws_listeners(pTHX_ ws_context *ctx);
SV *ws_listener_ids(pTHX_ ws_context *ctx, const char *method, SV *where);
UV ws_stop_listening(pTHX_ ws_context *ctx, SV *where);
void ws_reload_tls(pTHX_ ws_context *ctx, SV *where);
void ws_shutdown(pTHX_ ws_context *ctx, SV **args, I32 count);

/* ---- settings.c ---- */
void ws_option_settings(pTHX_ ws_options *o, bool is_server, evws_settings *out);
AV *ws_option_upgrade(pTHX_ ws_options *o, evws_upgrade_options *out);

/* What is said after a panic in the engine. */
#define WS_BUG "internal error: a bug in EV::Websockets was caught; the context cannot be used any more"

/* What newSVpvn and printf can do with: not NULL. */
#define WS_TEXT(bytes) ((bytes).length ? (const char *)(bytes).data : "")
#define WS_NO_BYTES ((evws_bytes){ NULL, 0 })

/* Tells the engine's queue that the loop has to come by. Inside of a drain
 * this is needed too: the callback may run the loop itself. */
#define WS_WAKE(ctx) STMT_START { if (!(ctx)->settle) ws_watch_wake(ctx); } STMT_END

/* After a call into the engine: what it logged is told. That can run Perl code. */
#define WS_LOG(ctx) STMT_START { if ((ctx)->globals->logs) ws_log_take(aTHX_ ctx); } STMT_END

/* Both, at the end of a method that has given the engine something to do. */
#define WS_CALLED(ctx) STMT_START { WS_WAKE(ctx); WS_LOG(ctx); } STMT_END

#endif
