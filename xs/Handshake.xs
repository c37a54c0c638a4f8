MODULE = EV::Websockets    PACKAGE = EV::Websockets::Handshake

bool
accept(ws_handshake *self, SV *headers = NULL)
CODE:
    RETVAL = ws_handshake_accept(aTHX_ self, headers);
OUTPUT:
    RETVAL

bool
reject(ws_handshake *self, SV *status = NULL, SV *headers = NULL, SV *body = NULL)
CODE:
    RETVAL = ws_handshake_reject(aTHX_ self, status, headers, body);
OUTPUT:
    RETVAL

SV *
protocol(ws_handshake *self, SV *name = NULL)
CODE:
    RETVAL = ws_handshake_protocol(aTHX_ self, name);
OUTPUT:
    RETVAL

void
protocols(ws_handshake *self)
PREINIT:
    SSize_t i;
PPCODE:
    EXTEND(SP, av_len(self->protocols) + 1);
    for (i = 0; i <= av_len(self->protocols); i++)
        PUSHs(sv_mortalcopy(*av_fetch(self->protocols, i, 0)));

SV *
headers(ws_handshake *self)
CODE:
    RETVAL = newRV_inc((SV *)self->headers);
OUTPUT:
    RETVAL

SV *
stash(ws_handshake *self)
CODE:
    RETVAL = ws_handshake_stash(aTHX_ self);
OUTPUT:
    RETVAL

SV *
peer_address(ws_handshake *self)
CODE:
    RETVAL = ws_address_of(aTHX_ self->ctx, self->id);
OUTPUT:
    RETVAL

SV *
tls(ws_handshake *self)
CODE:
    RETVAL = ws_tls_of(aTHX_ self->ctx, self->id);
OUTPUT:
    RETVAL

bool
is_pending(ws_handshake *self)
CODE:
    RETVAL = ws_handshake_is_pending(self);
OUTPUT:
    RETVAL

int
CLONE_SKIP(...)
CODE:
    PERL_UNUSED_VAR(items);
    RETVAL = 1;
OUTPUT:
    RETVAL
