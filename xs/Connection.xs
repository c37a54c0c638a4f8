MODULE = EV::Websockets    PACKAGE = EV::Websockets::Connection

void
send(SV *self, SV *data)
CODE:
    ws_send(aTHX_ self, "EV::Websockets::Connection::send", EVWS_SEND_TEXT, data, FALSE);

void
send_text(SV *self, SV *data)
CODE:
    ws_send(aTHX_ self, "EV::Websockets::Connection::send_text", EVWS_SEND_TEXT, data, TRUE);

void
send_binary(SV *self, SV *data)
CODE:
    ws_send(aTHX_ self, "EV::Websockets::Connection::send_binary", EVWS_SEND_BINARY, data, FALSE);

void
send_ping(SV *self, SV *data = NULL)
CODE:
    ws_send(aTHX_ self, "EV::Websockets::Connection::send_ping", EVWS_SEND_PING, data, FALSE);

void
send_pong(SV *self, SV *data = NULL)
CODE:
    ws_send(aTHX_ self, "EV::Websockets::Connection::send_pong", EVWS_SEND_PONG, data, FALSE);

void
send_fragment(SV *self, SV *data, SV *is_binary = &PL_sv_no, SV *is_final = &PL_sv_yes)
CODE:
    ws_send_fragment(aTHX_ self, "EV::Websockets::Connection::send_fragment", data, is_binary, is_final);

void
close(SV *self, SV *code = NULL, SV *reason = NULL)
CODE:
    ws_close(aTHX_ self, "EV::Websockets::Connection::close", code, reason);

void
abort(ws_connection *self)
CODE:
    ws_abort(aTHX_ self);

void
pause_recv(ws_connection *self)
CODE:
    ws_pause(aTHX_ self, TRUE);

void
resume_recv(ws_connection *self)
CODE:
    ws_pause(aTHX_ self, FALSE);

UV
send_queue_size(ws_connection *self)
CODE:
    RETVAL = self && self->open ? (UV)evws_send_queue_size(self->ctx->engine, self->id) : 0;
OUTPUT:
    RETVAL

const char *
state(ws_connection *self)
CODE:
    RETVAL = ws_state_name(self);
OUTPUT:
    RETVAL

bool
is_connected(ws_connection *self)
CODE:
    RETVAL = self && ws_connection_state(self) == EVWS_STATE_CONNECTED;
OUTPUT:
    RETVAL

bool
is_connecting(ws_connection *self)
CODE:
    RETVAL = self && ws_connection_state(self) == EVWS_STATE_CONNECTING;
OUTPUT:
    RETVAL

SV *
stash(ws_connection *self)
CODE:
    RETVAL = ws_stash(aTHX_ self);
OUTPUT:
    RETVAL

SV *
get_protocol(ws_connection *self)
CODE:
    RETVAL = ws_protocol(aTHX_ self);
OUTPUT:
    RETVAL

SV *
extensions(ws_connection *self)
CODE:
    RETVAL = ws_extensions(aTHX_ self);
OUTPUT:
    RETVAL

SV *
tls(ws_connection *self)
CODE:
    RETVAL = ws_tls(aTHX_ self);
OUTPUT:
    RETVAL

SV *
peer_address(ws_connection *self)
CODE:
    RETVAL = ws_peer_address(aTHX_ self);
OUTPUT:
    RETVAL

void
DESTROY(SV *self)
CODE:
    ws_forsake(aTHX_ self, "EV::Websockets::Connection::DESTROY");

int
CLONE_SKIP(...)
CODE:
    PERL_UNUSED_VAR(items);
    RETVAL = 1;
OUTPUT:
    RETVAL
