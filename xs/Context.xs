MODULE = EV::Websockets    PACKAGE = EV::Websockets::Context

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
connect(ws_context *self, ...)
CODE:
    RETVAL = ws_connect(aTHX_ self, &ST(1), items - 1);
OUTPUT:
    RETVAL

UV
listen(ws_context *self, ...)
CODE:
    RETVAL = ws_listen(aTHX_ self, &ST(1), items - 1);
OUTPUT:
    RETVAL

void
reload_tls(ws_context *self, SV *where)
CODE:
    ws_reload_tls(aTHX_ self, where);

SV *
adopt(ws_context *self, ...)
CODE:
    RETVAL = ws_adopt(aTHX_ self, &ST(1), items - 1);
OUTPUT:
    RETVAL

UV
stop_listening(ws_context *self, SV *where)
CODE:
    RETVAL = ws_stop_listening(aTHX_ self, where);
OUTPUT:
    RETVAL

void
shutdown(ws_context *self, ...)
CODE:
    ws_shutdown(aTHX_ self, &ST(1), items - 1);

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
PREINIT:
    ws_context *ctx;
CODE:
    if (ws_is_mere_copy(aTHX_ self))
        XSRETURN_EMPTY;
    ctx = ws_context_from_sv(aTHX_ self, "EV::Websockets::Context::DESTROY");
    if (ctx)
        ws_context_destroy(aTHX_ ctx);

int
CLONE_SKIP(...)
CODE:
    PERL_UNUSED_VAR(items);
    RETVAL = 1;
OUTPUT:
    RETVAL
