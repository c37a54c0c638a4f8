MODULE = EV::Websockets    PACKAGE = EV::Websockets::Context    PREFIX = ws_

SV *
new(SV *class_name, ...)
CODE:
    PERL_UNUSED_VAR(class_name);
    RETVAL = ws_new(aTHX_ &ST(0), items);
OUTPUT:
    RETVAL

# ($host, $port), or nothing for what names no host or no possible port.
void
_parse_proxy(SV *proxy)
PREINIT:
    evws_bytes host = WS_NO_BYTES;
    uint16_t port;
PPCODE:
    PUTBACK;
    proxy = sv_mortalcopy(proxy);
    if (SvOK(proxy))
        host = evws_proxy_parse(ws_bytes(aTHX_ proxy), &port);
    if (host.length) {
        SPAGAIN;
        EXTEND(SP, 2);
        mPUSHp(WS_TEXT(host), host.length);
        mPUSHu(port);
    }

SV *
ws_connect(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1

UV
ws_listen(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1

void
ws_reload_tls(ws_context *self, SV *where)
C_ARGS:
    aTHX_ self, where

SV *
ws_adopt(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1

UV
ws_stop_listening(ws_context *self, SV *where)
C_ARGS:
    aTHX_ self, where

SV *
stats(ws_context *self, SV *where = NULL)
CODE:
    RETVAL = ws_context_stats(aTHX_ self, where);
OUTPUT:
    RETVAL

void
ws_shutdown(ws_context *self, ...)
C_ARGS:
    aTHX_ self, &ST(1), items - 1

SV *
ws_prepare(ws_context *self, SV *data, ...)
C_ARGS:
    aTHX_ self, data, &ST(2), items - 2

UV
ws_broadcast(ws_context *self, SV *data, ...)
C_ARGS:
    aTHX_ self, data, &ST(2), items - 2

SV *
ws_publish(ws_context *self, SV *topic, SV *data, ...)
C_ARGS:
    aTHX_ self, topic, data, &ST(3), items - 3

void
ws_topic(ws_context *self, SV *topic, ...)
C_ARGS:
    aTHX_ self, topic, &ST(2), items - 2

SV *
position(ws_context *self, SV *topic)
CODE:
    RETVAL = ws_topic_position(aTHX_ self, topic);
OUTPUT:
    RETVAL

UV
ws_subscribers(ws_context *self, SV *topic)
C_ARGS:
    aTHX_ self, topic

void
ws_set_backplane(ws_context *self, SV *object)
C_ARGS:
    aTHX_ self, object

SV *
backplane(ws_context *self)
CODE:
    RETVAL = self && self->back_end ? newSVsv(self->back_end) : newSV(0);
OUTPUT:
    RETVAL

void
connections(ws_context *self)
ALIAS:
    listeners = 1
    topics = 2
PPCODE:
    PUTBACK;
    ws_return_list(aTHX_ ix == 2 ? ws_topics(aTHX_ self) : ix ? ws_listeners(aTHX_ self) : ws_connections(aTHX_ self));
    return;

void
DESTROY(SV *self)
CODE:
    ws_context_dropped(aTHX_ self, cv);
