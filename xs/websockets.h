/* What the files of xs/ share: the types, and each file's interface.
 *
 * Calls go one way: the .xs files and dispatch.c use options.c, object.c and
 * watch.c, and these use the C ABI of include/evws.h. libev is known to
 * watch.c alone. Nothing here keeps state in C statics: it is in ws_globals
 * (one an interpreter) or in an object.
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
typedef struct ws_watch ws_watch;           /* private to watch.c */
typedef struct ws_frame ws_frame;           /* private to dispatch.c */

/* The callbacks every connection has, in the order of `on` below. */
enum { WS_ON_CONNECT, WS_ON_MESSAGE, WS_ON_CLOSE, WS_ON_ERROR, WS_ON_PONG, WS_ON_DRAIN, WS_CALLBACK_COUNT };

/* One set for all connections of a listener: ten thousand connections cost
 * ten thousand pointers, not sixty thousand references. */
typedef struct ws_callbacks {
    U32 refs;
    SV *on[WS_CALLBACK_COUNT];              /* a CV, an object with &{}, or NULL */
    SV *on_handshake;                       /* of an adopted connection; or NULL */
    AV *origins;                            /* and its patterns of them, see ws_listener */
    SV *url;                                /* of a client that has no on_error, until it is connected; or NULL */
    bool utf8;                              /* text messages are characters: see ws_connection */
} ws_callbacks;

typedef struct ws_listener {
    uint64_t id;
    SV *name;
    ws_callbacks *callbacks;
    SV *on_handshake;                       /* or NULL */
    SV *on_request;                         /* or NULL */
    AV *origins;                            /* patterns, one of which a foreign Origin has to match, or NULL */
} ws_listener;

/* State of one interpreter. */
typedef struct ws_globals {
    HV *connection_stash;
    HV *handshake_stash;
    CV *drain;                              /* the XSUB that runs under a drain's eval */
    CV *unheard;                            /* what is called for a client without on_error that failed */
    SV *number[2];                          /* read-only 0 and 1: PL_sv_yes would be copied on every call */
    HV *warned;                             /* unknown options that were named already */
    ws_frame *handed;                       /* to the XSUB that is about to be called */
    bool debug;
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

/* ---- object.c ---- */
SV *ws_invocant(pTHX_ SV **args, I32 count);
SV *ws_held_invocant(pTHX_ SV **args, I32 count);
void ws_settle_arguments(pTHX_ SV **args, I32 count);
bool ws_is_mere_copy(pTHX_ SV *sv);
SV *ws_context_object(pTHX_ ws_context *ctx, HV *stash);
ws_context *ws_context_from_sv(pTHX_ SV *sv, const char *method);
ws_context *ws_context_invocant(pTHX_ SV *sv, const char *method);
ws_context *ws_context_new(pTHX_ SV *loop, HV *settings);
void ws_context_destroy(pTHX_ ws_context *ctx);
void ws_context_unref(pTHX_ ws_context *ctx);
evws_context *ws_context_engine(pTHX_ ws_context *ctx);
void ws_context_croak(pTHX_ ws_context *ctx);
void ws_context_check(pTHX_ ws_context *ctx);

ws_connection *ws_connection_new(pTHX_ ws_context *ctx, uint64_t id, ws_callbacks *callbacks);
void ws_connection_hold(pTHX_ ws_connection *conn, SV *handle);
ws_connection *ws_connection_from_sv(pTHX_ SV *sv, const char *method);
void ws_connection_close(pTHX_ ws_connection *conn);
U32 ws_connection_state(ws_connection *conn);

ws_handshake *ws_handshake_new(pTHX_ ws_context *ctx, uint64_t id, HV *headers);
ws_handshake *ws_handshake_from_sv(pTHX_ SV *sv, const char *method);
bool ws_is_handshake(pTHX_ SV *sv);

ws_callbacks *ws_callbacks_ref(ws_callbacks *callbacks);
void ws_callbacks_unref(pTHX_ ws_callbacks *callbacks);
void ws_callbacks_forget_url(pTHX_ ws_callbacks *callbacks);
void ws_listener_free(pTHX_ ws_listener *listener);

/* ---- watch.c ---- */
void ws_watch_boot(pTHX);
ws_watch *ws_watch_new(pTHX_ ws_context *ctx, SV *loop);
void ws_watch_free(pTHX_ ws_watch *watch);
void ws_watch_stop(ws_watch *watch);
void ws_watch_settle(pTHX_ ws_context *ctx);
void ws_watch_wake(ws_context *ctx);
void ws_watch_rest(ws_context *ctx);
U32 ws_watch_slots(const ws_watch *watch);
ws_connection *ws_watch_connection_at(const ws_watch *watch, U32 index);
ws_connection *ws_watch_connection(const ws_watch *watch, uint64_t id);
void ws_watch_set_connection(pTHX_ ws_watch *watch, uint64_t id, ws_connection *conn);
ws_listener *ws_watch_listener(const ws_watch *watch, uint64_t id);
ws_listener *ws_watch_listener_at(const ws_watch *watch, U32 index);
void ws_watch_set_listener(pTHX_ ws_watch *watch, uint64_t id, ws_listener *listener);
void ws_watch_drop_listeners(pTHX_ ws_watch *watch);

/* ---- dispatch.c ---- */
bool ws_drain(pTHX_ ws_context *ctx);
XS(ws_drain_xsub);
XS(ws_unheard_xsub);

/* ---- context.c ---- */
SV *ws_new(pTHX_ SV **args, I32 count);
int ws_parse_proxy(pTHX_ SV *proxy, SV **out);
SV *ws_connect(pTHX_ ws_context *ctx, SV **args, I32 count);
UV ws_listen(pTHX_ ws_context *ctx, SV **args, I32 count);
AV *ws_connections(pTHX_ ws_context *ctx);

/* ---- adopt.c ---- */
PerlIO *ws_file_of(pTHX_ SV *fh);
SV *ws_adopt(pTHX_ ws_context *ctx, SV **args, I32 count);

/* ---- connection.c ---- */
void ws_send(pTHX_ SV *self, const char *method, U32 kind, SV *data, bool characters);
evws_bytes ws_reason(pTHX_ const char *what, SV *plain);
void ws_send_fragment(pTHX_ SV *self, const char *method, SV *data, SV *is_binary, SV *is_final);
int64_t ws_close_code(pTHX_ const char *what, SV *given);
void ws_close(pTHX_ SV *self, const char *method, SV *code, SV *reason);
void ws_abort(pTHX_ ws_connection *conn);
void ws_pause(pTHX_ ws_connection *conn, bool pause);
void ws_forsake(pTHX_ SV *self, const char *method);
const char *ws_state_name(ws_connection *conn);
SV *ws_stash(pTHX_ ws_connection *conn);
SV *ws_protocol(pTHX_ ws_connection *conn);
SV *ws_extensions(pTHX_ ws_connection *conn);
SV *ws_peer_address(pTHX_ ws_connection *conn);

/* ---- spare.c ---- */
bool ws_perl_takes_memory(pTHX);
SV *ws_target_rv(pTHX_ ws_context *ctx, SV *target);
void ws_recycle_rv(pTHX_ ws_context *ctx, SV *rv, SV *target);
SV *ws_payload_sv(pTHX_ ws_context *ctx, evws_bytes payload);
void ws_recycle_payload(pTHX_ ws_context *ctx, SV *sv);

/* ---- answer.c ---- */
SV *ws_peer_sv(pTHX_ evws_bytes bytes);
HV *ws_event_headers(pTHX_ ws_context *ctx, const evws_event *event);
HV *ws_event_request(pTHX_ ws_context *ctx, const evws_event *event);
SV *ws_address_of(pTHX_ ws_context *ctx, uint64_t id);
void ws_response_from_parts(pTHX_ const char *what, SV *status, SV *headers, SV *body, evws_response *out);
void ws_response_from_triple(pTHX_ const char *what, SV *triple, evws_response *out);
SV *ws_call_scalar(pTHX_ SV *code, SV **arg, int args);
bool ws_origin_matches(pTHX_ AV *origins, SV *headers);
bool ws_answered(pTHX_ ws_context *ctx, const char *what, evws_status status);
void ws_answer_request(pTHX_ ws_context *ctx, uint64_t id, SV *returned);

/* ---- handshake.c ---- */
bool ws_handshake_accept(pTHX_ ws_handshake *handshake, SV *headers);
bool ws_handshake_reject(pTHX_ ws_handshake *handshake, SV *status, SV *headers, SV *body);
void ws_handshake_refuse(pTHX_ ws_handshake *handshake, U32 status);
void ws_handshake_returned(pTHX_ ws_handshake *handshake, SV *returned);
SV *ws_handshake_stash(pTHX_ ws_handshake *handshake);
HV *ws_handshake_take_stash(pTHX_ ws_context *ctx, uint64_t id);
SV *ws_handshake_protocol(pTHX_ ws_handshake *handshake, SV *name);
bool ws_handshake_is_pending(const ws_handshake *handshake);

/* ---- options.c ---- */
#define WS_HANDSHAKE_TIMEOUT 30                 /* seconds, where handshake_timeout is not given */

typedef enum {
    WS_OPT_URL, WS_OPT_PROTOCOL, WS_OPT_HEADERS, WS_OPT_MAX_MESSAGE_SIZE, WS_OPT_CONNECT_TIMEOUT,
    WS_OPT_VALIDATE_UTF8, WS_OPT_UTF8, WS_OPT_DEFLATE, WS_OPT_PORT, WS_OPT_HOST, WS_OPT_BACKLOG, WS_OPT_REUSE_PORT, WS_OPT_FD, WS_OPT_PATH, WS_OPT_MODE,
    WS_OPT_NAME, WS_OPT_LOOP, WS_OPT_PROXY, WS_OPT_PROXY_PORT,
    WS_OPT_SSL_CERT, WS_OPT_SSL_KEY, WS_OPT_SSL_CA, WS_OPT_SSL_VERIFY, WS_OPT_SSL_SERVER_NAME,
    WS_OPT_SSL_ALPN, WS_OPT_SSL_VERIFY_CLIENT, WS_OPT_SSL_CLIENT_CA, WS_OPT_SSL_SNI, WS_OPT_SSL_INIT,
    WS_OPT_FH, WS_OPT_ENV, WS_OPT_INITIAL_DATA, WS_OPT_ROLE, WS_OPT_UPGRADED,
    WS_OPT_ON_HANDSHAKE, WS_OPT_ON_REQUEST, WS_OPT_HANDSHAKE_TIMEOUT, WS_OPT_ORIGINS, WS_OPT_HOSTS,
    WS_OPT_TIMEOUT, WS_OPT_CODE, WS_OPT_REASON, WS_OPT_CB,
    WS_OPT_ON_CONNECT,                      /* the six callbacks, in the order of WS_ON_* */
    WS_OPT_ON_MESSAGE, WS_OPT_ON_CLOSE, WS_OPT_ON_ERROR, WS_OPT_ON_PONG, WS_OPT_ON_DRAIN,
    WS_OPT_COUNT
} ws_option;

typedef enum { WS_FOR_NEW = 1, WS_FOR_CONNECT = 2, WS_FOR_LISTEN = 4, WS_FOR_ADOPT = 8, WS_FOR_SHUTDOWN = 16 } ws_method;

/* The options of one call. Values are mortal copies without magic; NULL: not given. */
typedef struct ws_options {
    const char *method;
    SV *value[WS_OPT_COUNT];
} ws_options;

typedef struct ws_byte_list { evws_bytes *item; size_t count; } ws_byte_list;
typedef struct ws_header_list { evws_header *item; size_t count; } ws_header_list;

void ws_options_parse(pTHX_ ws_options *o, ws_method method, SV **args, I32 count);
bool ws_option_given(pTHX_ const ws_options *o, ws_option which);
evws_bytes ws_option_octets(pTHX_ const ws_options *o, ws_option which);
evws_bytes ws_bytes(pTHX_ SV *value);
evws_bytes ws_option_string(pTHX_ const ws_options *o, ws_option which);
NV ws_option_number(pTHX_ const ws_options *o, ws_option which, NV otherwise, NV greatest);
uint64_t ws_option_size(pTHX_ const ws_options *o, ws_option which);
bool ws_option_flag(pTHX_ const ws_options *o, ws_option which, bool otherwise);
SV *ws_option_code(pTHX_ const ws_options *o, ws_option which);
evws_bytes ws_option_file(pTHX_ const ws_options *o, ws_option which, HV *settings);
void ws_option_names(pTHX_ const ws_options *o, ws_option which, ws_byte_list *out);
void ws_append_string(pTHX_ SV *buffer, const ws_options *o, const char *option, SSize_t index, SV *entry);
void ws_option_headers(pTHX_ const ws_options *o, ws_header_list *out);
void ws_headers_from_hash(pTHX_ const char *what, HV *hash, ws_header_list *out);
ws_callbacks *ws_options_callbacks(pTHX_ const ws_options *o);
U32 ws_callbacks_wants(const ws_callbacks *callbacks);
HV *ws_options_settings(pTHX_ const ws_options *o);
SV *ws_shown(pTHX_ SV *value);
SV *ws_plain_scalar(pTHX_ SV *value);
bool ws_is_list(pTHX_ SV *value);

/* ---- unknown.c ---- */

/* The name of an option that is not known. Borrows all it has. */
typedef struct ws_unknown {
    const char *where;                      /* the method, or the option whose hash it is in */
    SV *name;
    const char *text;
    STRLEN length;
    const char *nearest;                    /* what was meant, perhaps; or NULL */
    U32 distance;                           /* that a known name has to be nearer than */
    const char *elsewhere;                  /* the method that has an option of that name; or NULL */
} ws_unknown;

void ws_unknown_begin(pTHX_ ws_unknown *unknown, const char *where, SV *name);
void ws_unknown_compare(ws_unknown *unknown, const char *known);
bool ws_unknown_guards_a_door(const ws_unknown *unknown);
void ws_unknown_croak(pTHX_ const ws_unknown *unknown);
void ws_unknown_warn(pTHX_ const ws_unknown *unknown);

/* ---- upgrade.c ---- */
AV *ws_option_upgrade(pTHX_ const ws_options *o, evws_upgrade_options *out);

/* ---- tls.c ---- */
void ws_tls_connect(pTHX_ const ws_options *o, HV *settings, evws_client_tls *out);
void ws_tls_listen(pTHX_ const ws_options *o, evws_server_tls *out);
SV *ws_tls_of(pTHX_ ws_context *ctx, uint64_t id);
SV *ws_tls(pTHX_ ws_connection *conn);

/* ---- listener.c ---- */
void ws_option_place(pTHX_ const ws_options *o, evws_listen_options *out);
AV *ws_listeners(pTHX_ ws_context *ctx);
UV ws_stop_listening(pTHX_ ws_context *ctx, SV *where);
void ws_reload_tls(pTHX_ ws_context *ctx, SV *where);
void ws_shutdown(pTHX_ ws_context *ctx, SV **args, I32 count);

/* ---- deflate.c ---- */
void ws_option_deflate(pTHX_ const ws_options *o, bool otherwise, bool is_server, evws_deflate_options *out);

/* What newSVpvn and printf can do with: not NULL. */
#define WS_TEXT(bytes) ((bytes).length ? (const char *)(bytes).data : "")

/* Tells the engine's queue that the loop has to come by. Inside of a drain
 * this is needed too: the callback may run the loop itself. */
#define WS_WAKE(ctx) STMT_START { if (!(ctx)->settle) ws_watch_wake(ctx); } STMT_END

#define WS_TRACE(globals, args) STMT_START { if ((globals)->debug) PerlIO_printf args; } STMT_END

#endif
