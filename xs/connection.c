/* The methods of EV::Websockets::Connection.
 *
 * Arguments are fetched first: that can run Perl code (tie, overloading),
 * which can close the connection or destroy its context. Methods with arguments
 * settle them, and look for the connection when they are plain values.
 */
#include "websockets.h"

ws_connection *ws_open_connection(pTHX_ SV *self, CV *method)
{
    ws_connection *conn = ws_connection_from_sv(aTHX_ self, method);

    if (!conn)
        croak("Connection has been destroyed");
    if (!conn->open)
        croak("Connection is not open");
    return conn;
}

/* After a send: croaks, or has the loop write what was queued, or deliver that the connection has failed. FALSE: the
 * queue was full. */
bool ws_sent(pTHX_ ws_connection *conn, evws_status status)
{
    switch (status) {
    case EVWS_STATUS_OK:
    case EVWS_STATUS_DROPPED:
        WS_WAKE(conn->ctx);
        return status == EVWS_STATUS_OK;
    case EVWS_STATUS_QUEUE_FULL:
        croak("send queue is full");
    case EVWS_STATUS_STALE:
    case EVWS_STATUS_NOT_OPEN:
        croak("Connection is not open");
    case EVWS_STATUS_FRAGMENT_OPEN:
        croak("Cannot send while a fragmented message is in progress; "
              "finish the fragment with send_fragment(..., is_final => 1) first (is_final is the third argument)");
    case EVWS_STATUS_NO_MEMORY:
        croak("Out of memory: nothing was sent, and the connection is as it was");
    default:
        ws_context_croak(aTHX_ conn->ctx, "send", NULL);
    }
}

/* What a settled argument holds; NULL or undef: no octets. */
static evws_bytes octets(pTHX_ CV *method, SV *data, bool required)
{
    if (data && SvROK(data) && ws_is_prepared(aTHX_ data))
        croak("%s: a prepared message is a message of its own, for send", ws_method_name(aTHX_ method));
    if (data && SvROK(data) && ws_is_bare_object(aTHX_ data))
        ws_must_be(aTHX_ ws_method_name(aTHX_ method), "data", "a string", data);
    if (data && SvOK(data))
        return ws_bytes(aTHX_ data);
    if (required)
        croak("%s: data must be defined", ws_method_name(aTHX_ method));
    return WS_NO_BYTES;
}

/* The bytes of a string that perl keeps in UTF-8. A wide character is none. */
static evws_bytes downgraded(pTHX_ const char *what, evws_bytes text)
{
    SV *copy = newSVpvn_flags((const char *)text.data, text.length, SVs_TEMP | SVf_UTF8);

    if (!sv_utf8_downgrade(copy, TRUE))
        croak("%s: wide character: what is sent must be bytes", what);
    return ws_bytes(aTHX_ copy);
}

static evws_bytes upgraded(pTHX_ evws_bytes bytes)
{
    SV *copy = newSVpvn_flags((const char *)bytes.data, bytes.length, SVs_TEMP);

    sv_utf8_upgrade(copy);
    return ws_bytes(aTHX_ copy);
}

/* The characters of a string in UTF-8. That of perl has some that are none elsewhere. */
static evws_bytes encoded(pTHX_ const char *what, evws_bytes text, bool is_utf8)
{
    size_t i;

    if (!is_utf8) {
        for (i = 0; i < text.length; i++)
            if (text.data[i] >= 0x80)
                return upgraded(aTHX_ text);
    } else if (!evws_is_utf8(text)) {
        croak("%s: a character that cannot be sent: a surrogate, or one above U+10FFFF", what);
    }
    return text;
}

/* A reason is bytes in UTF-8. What is not UTF-8 may not be sent, and is taken for characters. NULL or undef: none. */
evws_bytes ws_reason(pTHX_ const char *what, SV *given)
{
    SV *plain;
    evws_bytes text;

    if (!given || !SvOK(given))
        return WS_NO_BYTES;
    plain = ws_plain_scalar(aTHX_ given);
    if (!plain)
        ws_must_be(aTHX_ what, "reason", "a string", given);
    text = ws_bytes(aTHX_ plain);
    if (SvUTF8(plain))
        text = downgraded(aTHX_ what, text);
    return evws_is_utf8(text) ? text : upgraded(aTHX_ text);
}

/* What goes out of `data`, whose octets were taken. A text is what perl has it in,
 * as 0.10 sent it, unless characters are meant. */
evws_bytes ws_outgoing(pTHX_ const char *what, SV *data, evws_bytes text, bool is_text, bool characters)
{
    if (is_text)
        return characters ? encoded(aTHX_ what, text, cBOOL(SvUTF8(data))) : text;
    return data && SvUTF8(data) ? downgraded(aTHX_ what, text) : text;
}

static bool send_prepared(pTHX_ SV *self, CV *method, SV *prepared)
{
    ws_connection *conn = ws_open_connection(aTHX_ self, method);
    uint64_t number = ws_prepared_number(aTHX_ "send", conn->ctx, prepared);
    bool queued = ws_sent(aTHX_ conn, evws_send_prepared(conn->ctx->engine, conn->id, number));

    WS_LOG(conn->ctx);
    return queued;
}

/* data: NULL for a ping or pong without payload. */
bool ws_send(pTHX_ SV *self, CV *method, U32 kind, SV *data, bool characters)
{
    SV *arg[2];
    evws_bytes text;
    ws_connection *conn;
    ws_context *ctx;
    bool queued;

    arg[0] = self;
    arg[1] = data;
    /* Nearly all are plain. */
    if (SvGMAGICAL(self) || (data && (SvFLAGS(data) & (SVs_GMG | SVf_ROK))))
        ws_settle_arguments(aTHX_ arg, 2);
    if (data && SvROK(arg[1]) && (kind == EVWS_SEND_TEXT || kind == EVWS_SEND_BINARY) && ws_is_prepared(aTHX_ arg[1]))
        return send_prepared(aTHX_ arg[0], method, arg[1]);
    text = octets(aTHX_ method, arg[1], kind == EVWS_SEND_TEXT || kind == EVWS_SEND_BINARY);
    conn = ws_open_connection(aTHX_ arg[0], method);
    characters = characters || conn->utf8;
    if (characters || (arg[1] && SvUTF8(arg[1])))
        text = ws_outgoing(aTHX_ ws_method_name(aTHX_ method), arg[1], text, kind == EVWS_SEND_TEXT, characters);
    ctx = conn->ctx;
    queued = ws_sent(aTHX_ conn, evws_send(ctx->engine, conn->id, kind, text));
    WS_LOG(ctx);
    return queued;
}

bool ws_send_fragment(pTHX_ SV *self, CV *method, SV *data, SV *binary, SV *final)
{
    SV *arg[4];
    evws_bytes text;
    ws_connection *conn;
    bool is_binary, is_final, queued;

    arg[0] = self;
    arg[1] = data;
    arg[2] = binary;
    arg[3] = final;
    ws_settle_arguments(aTHX_ arg, 4);
    is_binary = cBOOL(SvTRUE(arg[2]));
    is_final = cBOOL(SvTRUE(arg[3]));
    text = octets(aTHX_ method, arg[1], TRUE);
    conn = ws_open_connection(aTHX_ arg[0], method);
    if (conn->in_fragments)
        is_binary = conn->fragments_binary;
    text = ws_outgoing(aTHX_ ws_method_name(aTHX_ method), arg[1], text, !is_binary, conn->utf8);
    queued = ws_sent(aTHX_ conn, evws_send_fragment(conn->ctx->engine, conn->id, is_binary, is_final, text));
    conn->in_fragments = !is_final;
    conn->fragments_binary = is_binary;
    WS_LOG(conn->ctx);
    return queued;
}

/* A number, not necessarily one that may be sent: that is for the engine to say, and it refuses 0, which is what is no
 * whole number here. `given` is a mortal copy. */
int64_t ws_close_code(pTHX_ const char *what, SV *given)
{
    /* An object that says a number and a string is taken for the number. */
    SV *plain = ws_overloads(aTHX_ given, "(0+") ? sv_2mortal(newSVnv(SvNV(given))) : ws_plain_scalar(aTHX_ given);
    NV code;

    if (!plain || !looks_like_number(plain))
        croak("%s: invalid close code '%s' (it is no number)", what, ws_shown(aTHX_ given));
    code = SvNV(plain);
    return code == Perl_floor(code) && code > 0 && code < 1e9 ? (int64_t)code : 0;
}

/* Without a code it is a normal end. A wrong code is an error in any state, also where close has no effect. */
void ws_close(pTHX_ SV *self, CV *method, SV *code_sv, SV *reason)
{
    SV *arg[3], *given = NULL;
    int64_t code = 1000;
    evws_bytes text;
    ws_connection *conn;

    arg[0] = self;
    arg[1] = code_sv;
    arg[2] = reason;
    ws_settle_arguments(aTHX_ arg, 3);
    if (arg[1] && SvOK(arg[1])) {
        given = sv_mortalcopy(arg[1]);
        code = ws_close_code(aTHX_ "close", given);
    }
    text = ws_reason(aTHX_ "close", arg[2]);
    conn = ws_connection_from_sv(aTHX_ arg[0], method);
    if (!conn || !conn->ctx->engine)
        return;
    ws_or_croak(aTHX_ conn->ctx, "close", given, evws_close(conn->ctx->engine, conn->id, code, text));
    if (conn->open)
        WS_CALLED(conn->ctx);
}

void ws_abort(pTHX_ ws_connection *conn)
{
    PERL_UNUSED_CONTEXT;
    if (!conn || !conn->open)
        return;
    evws_abort(conn->ctx->engine, conn->id);
    ws_callbacks_forget_url(aTHX_ conn->callbacks);
    WS_CALLED(conn->ctx);
}

void ws_pause(pTHX_ ws_connection *conn, bool pause)
{
    PERL_UNUSED_CONTEXT;
    if (!conn || !conn->open)
        return;
    if (pause)
        evws_pause(conn->ctx->engine, conn->id);
    else
        evws_resume(conn->ctx->engine, conn->id);
    WS_CALLED(conn->ctx);
}

/* DESTROY. Perl itself calls it only when the connection is closed, since the
 * context has a reference until then. Called by hand on an open one: the close
 * handshake still takes place, but nobody is told about it. */
void ws_forsake(pTHX_ SV *self, CV *method)
{
    ws_connection *conn;

    if (PL_dirty || ws_is_mere_copy(aTHX_ self) || !(conn = ws_connection_from_sv(aTHX_ self, method)))
        return;
    conn->destroyed = TRUE;
    if (!conn->open)
        return;
    (void)sv_2mortal(SvREFCNT_inc_simple_NN(conn->sv));
    (void)evws_close(conn->ctx->engine, conn->id, 1000, WS_NO_BYTES);
    WS_WAKE(conn->ctx);
    ws_connection_close(aTHX_ conn);
}

const char *ws_state(ws_connection *conn)
{
    /* Indexed by EVWS_STATE_*. */
    static const char *const names[] = { "", "connecting", "connected", "closing", "closed" };

    return conn ? names[ws_connection_state(conn)] : "destroyed";
}

SV *ws_stash(pTHX_ ws_connection *conn)
{
    if (!conn)
        croak("Connection has been destroyed");
    if (!conn->stash)
        conn->stash = newHV();
    return newRV_inc((SV *)conn->stash);
}

bool ws_is_writable(ws_connection *conn)
{
    return conn && conn->open && evws_is_writable(conn->ctx->engine, conn->id);
}

UV ws_send_queue_size(ws_connection *conn)
{
    return conn && conn->open ? (UV)evws_send_queue_size(conn->ctx->engine, conn->id) : 0;
}

static SV *latency_sv(pTHX_ double seconds)
{
    return seconds < 0 ? newSV(0) : newSVnv(seconds);
}

/* What is known of an open connection; undef: it is not open, or has none. */
SV *ws_fact(pTHX_ ws_connection *conn, ws_fact_kind which)
{
    if (!conn || !conn->open)
        return newSV(0);
    switch (which) {
    case WS_PROTOCOL:     return ws_text_sv(aTHX_ evws_protocol(conn->ctx->engine, conn->id));
    case WS_EXTENSIONS:   return ws_text_sv(aTHX_ evws_extensions(conn->ctx->engine, conn->id));
    case WS_LATENCY:      return latency_sv(aTHX_ evws_latency(conn->ctx->engine, conn->id));
    case WS_PEER_ADDRESS: return ws_address_of(aTHX_ conn->ctx, conn->id);
    case WS_PEER_PORT:    return ws_port_of(aTHX_ conn->ctx, conn->id);
    default:              return ws_tls_of(aTHX_ conn->ctx, conn->id);
    }
}
