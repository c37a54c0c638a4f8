MODULE = EV::Websockets    PACKAGE = EV::Websockets::Handshake    PREFIX = ws_handshake_

bool
ws_handshake_accept(ws_handshake *self, SV *headers = NULL)
C_ARGS:
    aTHX_ self, headers

bool
ws_handshake_reject(ws_handshake *self, SV *status = NULL, SV *headers = NULL, SV *body = NULL)
C_ARGS:
    aTHX_ self, status, headers, body

SV *
ws_handshake_protocol(ws_handshake *self, SV *name = NULL)
C_ARGS:
    aTHX_ self, name

void
protocols(ws_handshake *self)
PPCODE:
    PUTBACK;
    ws_return_list(aTHX_ self->protocols);
    return;

SV *
headers(ws_handshake *self)
CODE:
    RETVAL = newRV_inc((SV *)self->headers);
OUTPUT:
    RETVAL

SV *
ws_handshake_stash(ws_handshake *self)
C_ARGS:
    aTHX_ self

SV *
peer_address(ws_handshake *self)
ALIAS:
    tls = 1
    peer_port = 2
CODE:
    RETVAL = ix == 1 ? ws_tls_of(aTHX_ self->ctx, self->id)
           : ix == 2 ? ws_port_of(aTHX_ self->ctx, self->id)
           : ws_address_of(aTHX_ self->ctx, self->id);
OUTPUT:
    RETVAL

bool
ws_handshake_is_pending(ws_handshake *self)
