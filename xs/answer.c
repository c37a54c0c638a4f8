/* What a program is asked for an answer with, and what it may answer: the
 * hash that on_request gets, and the response that it returns, or that
 * rejects a handshake. What such a response means is for the engine to say.
 */
#include "websockets.h"

/* Whether the Origin among the headers matches one of the patterns. They can
 * hold Perl code, so Perl matches them. */
bool ws_origin_matches(pTHX_ AV *origins, SV *headers)
{
    SV *arg[2];
    SV *matches;

    arg[0] = headers;
    arg[1] = sv_2mortal(newRV_inc((SV *)origins));
    matches = ws_call_helper(aTHX_ "EV::Websockets::_is_from", arg, 2);
    return SvTRUE(matches) ? TRUE : FALSE;
}

/* ---- the request ---- */

/* A new hash of the headers of the event that was polled last. */
HV *ws_event_headers(pTHX_ ws_context *ctx, const evws_event *event)
{
    HV *hash = newHV();
    evws_header header;
    size_t i;

    hv_ksplit(hash, (IV)(2 * event->header_count)); /* It does not grow while it is filled. */
    for (i = 0; i < event->header_count; i++)
        if (evws_event_header(ctx->engine, i, &header))
            (void)hv_store(hash, WS_TEXT(header.name), (I32)header.name.length, ws_peer_sv(aTHX_ header.value), 0);
    return hash;
}

/* The address of an open connection, or of one that waits for an answer; or undef. */
SV *ws_address_of(pTHX_ ws_context *ctx, uint64_t id)
{
    return ws_text_sv(aTHX_ evws_peer_address(ctx->engine, id));
}

/* Its port; or undef. */
SV *ws_port_of(pTHX_ ws_context *ctx, uint64_t id)
{
    const uint16_t port = evws_peer_port(ctx->engine, id);

    return port ? newSVuv(port) : newSV(0);
}

/* What the target says stands among the headers, too. */
static void store_header(pTHX_ HV *hash, const char *key, HV *headers, const char *name)
{
    SV **value = hv_fetch(headers, name, (I32)strlen(name), 0);
    evws_bytes text;

    if (!value)
        return;
    /* Without its magic, which would taint whatever is made next. */
    text.data = (const uint8_t *)SvPVX(*value);
    text.length = SvCUR(*value);
    (void)hv_store(hash, key, (I32)strlen(key), ws_peer_sv(aTHX_ text), 0);
}

/* A new hash, of the request event that was polled last. */
HV *ws_event_request(pTHX_ ws_context *ctx, const evws_event *event)
{
    HV *hash = newHV();
    HV *headers = ws_event_headers(aTHX_ ctx, event);
    evws_request request;

    if (evws_event_request(ctx->engine, &request)) {
        (void)hv_stores(hash, "method", ws_peer_sv(aTHX_ request.method));
        (void)hv_stores(hash, "uri", ws_peer_sv(aTHX_ request.target));
        (void)hv_stores(hash, "protocol", ws_peer_sv(aTHX_ request.version));
        (void)hv_stores(hash, "scheme", newSVpv(request.is_secure ? "https" : "http", 0));
        if (request.is_secure)
            (void)hv_stores(hash, "tls", ws_tls_of(aTHX_ ctx, event->id));
    }
    store_header(aTHX_ hash, "path", headers, "Path");
    store_header(aTHX_ hash, "query", headers, "Query");
    (void)hv_stores(hash, "headers", newRV_noinc((SV *)headers));
    (void)hv_stores(hash, "body", ws_peer_sv(aTHX_ event->payload));
    (void)hv_stores(hash, "peer_address", ws_address_of(aTHX_ ctx, event->id));
    (void)hv_stores(hash, "peer_port", ws_port_of(aTHX_ ctx, event->id));
    return hash;
}

/* ---- the response ----
 * Every value is copied to a mortal, which runs whatever Perl code hides
 * behind it. */

/* The bytes of a string, which live as long as the call. */
static evws_bytes octets(pTHX_ SV *value, const char *what, const char *which, IV number)
{
    SV *plain = ws_plain_string(aTHX_ value);

    if (!plain)
        croak("%s: %s number %" IVdf " must be a defined string", what, which, number);
    if (SvUTF8(plain) && !sv_utf8_downgrade(plain, TRUE))
        croak("%s: %s number %" IVdf " has wide characters: it must be bytes", what, which, number);
    return ws_bytes(aTHX_ plain);
}

static AV *array_of(pTHX_ SV *value, const char *what, const char *which)
{
    AV *array = ws_array(value);

    if (!array)
        ws_must_be(aTHX_ what, which, "an array reference", value);
    return array;
}

static void response_headers(pTHX_ SV *value, const char *what, evws_response *out)
{
    AV *list = array_of(aTHX_ value, what, "the headers");
    SV *made = ws_list(aTHX);
    SSize_t last = av_len(list);
    SSize_t i;

    if (last % 2 == 0)
        croak("%s: the headers must be pairs of a name and a value (got %" IVdf " strings)", what, (IV)last + 1);
    for (i = 0; i < last; i += 2) {
        evws_header header;

        header.name = octets(aTHX_ ws_element(aTHX_ list, i), what, "the name of header", (IV)i / 2 + 1);
        header.value = octets(aTHX_ ws_element(aTHX_ list, i + 1), what, "the value of header", (IV)i / 2 + 1);
        WS_LIST_ADD(made, header);
    }
    WS_LIST_GIVE(made, out->headers);
}

static void response_body(pTHX_ SV *value, const char *what, evws_response *out)
{
    AV *list = array_of(aTHX_ value, what, "the body");
    SV *made = ws_list(aTHX);
    SSize_t i;

    for (i = 0; i <= av_len(list); i++) {
        evws_bytes part = octets(aTHX_ ws_element(aTHX_ list, i), what, "body string", (IV)i + 1);

        WS_LIST_ADD(made, part);
    }
    WS_LIST_GIVE(made, out->body);
}

/* A response from its parts, mortal copies of which the last two may be NULL: no headers, and the usual body. Croaks, with
 * `what` in front, if it is none. A status that is no whole number is one that the engine refuses. */
void ws_response_from_parts(pTHX_ const char *what, SV *status, SV *headers, SV *body, evws_response *out)
{
    const NV number = ws_number(aTHX_ status);

    Zero(out, 1, evws_response);
    out->status = number > 0 && number <= U32_MAX && number == Perl_floor(number) ? (uint32_t)number : 0;
    if (headers)
        response_headers(aTHX_ headers, what, out);
    if (body)
        response_body(aTHX_ body, what, out);
}

/* From [ $status, \@headers, \@body ]. Returns the status, as it was given. */
SV *ws_response_from_triple(pTHX_ const char *what, SV *triple, evws_response *out)
{
    AV *list = ws_array(triple);
    SV *status;

    if (!list || av_len(list) != 2)
        croak("%s must return [ $status, \\@headers, \\@body ] (got '%s')", what, ws_shown(aTHX_ triple));
    status = ws_element(aTHX_ list, 0);
    ws_response_from_parts(aTHX_ what, status, ws_element(aTHX_ list, 1), ws_element(aTHX_ list, 2), out);
    return status;
}

/* Croaks with the engine's words if it refused an answer, whose status was `given`. TRUE: somebody waited for it. */
bool ws_answered(pTHX_ ws_context *ctx, const char *what, SV *given, evws_status status)
{
    if (status == EVWS_STATUS_INVALID)
        ws_context_croak(aTHX_ ctx, what, given);
    return status == EVWS_STATUS_OK;
}

/* What on_request returned. Croaks if it is no response. */
void ws_answer_request(pTHX_ ws_context *ctx, uint64_t id, SV *returned)
{
    evws_response response;
    SV *status = ws_response_from_triple(aTHX_ "on_request", returned, &response);

    (void)ws_answered(aTHX_ ctx, "on_request", status, evws_request_answer(ctx->engine, id, &response));
}
