MODULE = EV::Websockets    PACKAGE = EV::Websockets::Connection    PREFIX = ws_

bool
send(SV *self, SV *data)
ALIAS:
    send_text = 1
    send_binary = 2
CODE:
    RETVAL = ws_send(aTHX_ self, cv, ix == 2 ? EVWS_SEND_BINARY : EVWS_SEND_TEXT, data, ix == 1);
OUTPUT:
    RETVAL

void
send_ping(SV *self, SV *data = NULL)
ALIAS:
    send_pong = 1
CODE:
    (void)ws_send(aTHX_ self, cv, ix ? EVWS_SEND_PONG : EVWS_SEND_PING, data, FALSE);

bool
ws_send_fragment(SV *self, SV *data, SV *is_binary = &PL_sv_no, SV *is_final = &PL_sv_yes)
C_ARGS:
    aTHX_ self, cv, data, is_binary, is_final

void
ws_close(SV *self, SV *code = NULL, SV *reason = NULL)
C_ARGS:
    aTHX_ self, cv, code, reason

void
ws_abort(ws_connection *self)
C_ARGS:
    aTHX_ self

void
pause_recv(ws_connection *self)
ALIAS:
    resume_recv = 1
CODE:
    ws_pause(aTHX_ self, !ix);

UV
ws_send_queue_size(ws_connection *self)

bool
ws_is_writable(ws_connection *self)

const char *
ws_state(ws_connection *self)

bool
is_connected(ws_connection *self)
ALIAS:
    is_connecting = 1
CODE:
    RETVAL = self && ws_connection_state(self) == (U32)(ix ? EVWS_STATE_CONNECTING : EVWS_STATE_CONNECTED);
OUTPUT:
    RETVAL

SV *
ws_stash(ws_connection *self)
C_ARGS:
    aTHX_ self

SV *
get_protocol(ws_connection *self)
ALIAS:
    extensions = WS_EXTENSIONS
    peer_address = WS_PEER_ADDRESS
    peer_port = WS_PEER_PORT
    tls = WS_TLS
    latency = WS_LATENCY
CODE:
    RETVAL = ws_fact(aTHX_ self, (ws_fact_kind)ix);
OUTPUT:
    RETVAL

SV *
stats(ws_connection *self)
CODE:
    RETVAL = ws_connection_stats(aTHX_ self);
OUTPUT:
    RETVAL

bool
ws_subscribe(SV *self, SV *topic, ...)
C_ARGS:
    aTHX_ self, cv, topic, &ST(2), items - 2

bool
ws_unsubscribe(SV *self, SV *topic)
C_ARGS:
    aTHX_ self, cv, topic

void
topics(ws_connection *self)
PPCODE:
    PUTBACK;
    ws_return_list(aTHX_ ws_connection_topics(aTHX_ self));
    return;

void
DESTROY(SV *self)
CODE:
    ws_forsake(aTHX_ self, cv);
