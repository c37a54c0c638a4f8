MODULE = EV::Websockets    PACKAGE = EV::Websockets::Context    PREFIX = ws_

SV *
new(SV *class_name, ...)
CODE:
    PERL_UNUSED_VAR(class_name);
    RETVAL = ws_new(aTHX_ &ST(0), items);
OUTPUT:
    RETVAL

void
_parse_proxy(SV *proxy)
PREINIT:
    SV *parts[2];
    int i, count;
PPCODE:
    count = ws_parse_proxy(aTHX_ proxy, parts);
    EXTEND(SP, count);
    for (i = 0; i < count; i++)
        PUSHs(parts[i]);

SV *
ws_connect(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1
POSTCALL:
    WS_LOG(self);

UV
ws_listen(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1
POSTCALL:
    WS_LOG(self);

void
ws_reload_tls(ws_context *self, SV *where)
C_ARGS:
    aTHX_ self, where
POSTCALL:
    WS_LOG(self);

SV *
ws_adopt(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1
POSTCALL:
    WS_LOG(self);

UV
ws_stop_listening(ws_context *self, SV *where)
C_ARGS:
    aTHX_ self, where
POSTCALL:
    WS_LOG(self);

void
ws_shutdown(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1
POSTCALL:
    WS_LOG(self);

void
connections(ws_context *self)
ALIAS:
    listeners = 1
PREINIT:
    AV *list;
    SSize_t i;
PPCODE:
    list = ix ? ws_listeners(aTHX_ self) : ws_connections(aTHX_ self);
    if (GIMME_V == G_SCALAR)
        XSRETURN_IV(av_len(list) + 1);
    EXTEND(SP, av_len(list) + 1);
    for (i = 0; i <= av_len(list); i++)
        PUSHs(*av_fetch(list, i, 0));  /* the list is mortal */

void
DESTROY(SV *self)
CODE:
    ws_context_dropped(aTHX_ self, cv);
