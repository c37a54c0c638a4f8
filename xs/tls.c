/* TLS: the options of connect and listen, and what was agreed on.
 *
 * What a program relies on for its safety is never guessed at: an option that
 * says nothing clear, or nothing without another one, croaks.
 */
#include "websockets.h"

void ws_tls_connect(pTHX_ const ws_options *o, evws_client_tls *out)
{
    ws_options_read(aTHX_ o, WS_IN_client_tls, out);
    out->ca = ws_option_string(aTHX_ o, WS_OPT_SSL_CA);
    out->cert = ws_option_string(aTHX_ o, WS_OPT_SSL_CERT);
    out->key = ws_option_string(aTHX_ o, WS_OPT_SSL_KEY);
    WS_LIST_GIVE(ws_option_names(aTHX_ o, WS_OPT_SSL_ALPN), out->alpn);
}

/* ---- listen ---- */

static void check_combination(pTHX_ const ws_options *o, evws_verify_client verify)
{
    const char *useless;
    bool cert = ws_option_given(aTHX_ o, WS_OPT_SSL_CERT);
    bool client_ca = ws_option_given(aTHX_ o, WS_OPT_SSL_CLIENT_CA);

    if (cert != ws_option_given(aTHX_ o, WS_OPT_SSL_KEY))
        croak("listen: ssl_cert and ssl_key must both be set for TLS (only %s was given)",
              cert ? "ssl_cert" : "ssl_key");
    if (!cert && verify != EVWS_VERIFY_CLIENT_NO)
        croak("listen: ssl_verify_client is for TLS, which needs ssl_cert and ssl_key");
    useless = cert ? NULL : ws_option_with(aTHX_ o, WS_NEEDS_TLS);
    if (useless)
        croak("listen: %s is for TLS, which needs ssl_cert and ssl_key", useless);
    if (verify != EVWS_VERIFY_CLIENT_NO && !client_ca)
        croak("listen: ssl_verify_client needs ssl_client_ca, the roots of the clients' certificates");
    if (client_ca && !o->value[WS_OPT_SSL_VERIFY_CLIENT])
        croak("listen: ssl_client_ca needs ssl_verify_client, which says 1 or 'optional'");
}

static evws_bytes sni_file(pTHX_ SV *host, AV *files, I32 which)
{
    SV *plain = ws_plain_string(aTHX_ ws_element(aTHX_ files, which));

    if (!plain)
        croak("listen: ssl_sni '%s': the %s must be the name of a file", ws_shown(aTHX_ host),
              which ? "key" : "certificate");
    return ws_bytes(aTHX_ plain);
}

static void sni_option(pTHX_ const ws_options *o, evws_server_tls *out)
{
    HV *hash = o->value[WS_OPT_SSL_SNI] ? ws_hash(o->value[WS_OPT_SSL_SNI]) : NULL;
    SV *list = ws_list(aTHX);
    SV *host, *value;

    if (!o->value[WS_OPT_SSL_SNI])
        return;
    if (!hash)
        ws_option_must_be(aTHX_ o, WS_OPT_SSL_SNI, "a hash reference");
    hv_iterinit(hash);
    while (ws_next_entry(aTHX_ hash, &host, &value)) {
        AV *files = ws_array(value);
        evws_named_certificate one;

        if (!files || av_len(files) != 1)
            croak("listen: ssl_sni '%s' must be an array reference of two files, [$cert, $key]", ws_shown(aTHX_ host));
        one.host = ws_bytes(aTHX_ host);
        one.cert = sni_file(aTHX_ host, files, 0);
        one.key = sni_file(aTHX_ host, files, 1);
        WS_LIST_ADD(list, one);
    }
    WS_LIST_GIVE(list, out->sni);
}

void ws_tls_listen(pTHX_ const ws_options *o, evws_server_tls *out)
{
    /* What browsers offer, and whatever else speaks HTTP: it is answered, so that nobody takes it for HTTP/2. */
    static const evws_bytes http = { (const uint8_t *)"http/1.1", 8 };

    out->verify_client = ws_option_optional(aTHX_ o, WS_OPT_SSL_VERIFY_CLIENT);
    check_combination(aTHX_ o, out->verify_client);
    out->cert = ws_option_string(aTHX_ o, WS_OPT_SSL_CERT);
    out->key = ws_option_string(aTHX_ o, WS_OPT_SSL_KEY);
    out->ca = ws_option_string(aTHX_ o, WS_OPT_SSL_CA);
    ws_options_read(aTHX_ o, WS_IN_server_tls, out);
    sni_option(aTHX_ o, out);
    WS_LIST_GIVE(ws_option_names(aTHX_ o, WS_OPT_SSL_ALPN), out->alpn);
    if (!ws_option_given(aTHX_ o, WS_OPT_SSL_ALPN)) {
        out->alpn.item = &http;
        out->alpn.count = 1;
    }
}

/* ---- what was agreed on ---- */

/* What the peer says of itself; undef: it says nothing. */
static SV *peer_text(pTHX_ evws_bytes text)
{
    return text.length ? ws_peer_sv(aTHX_ text) : newSV(0);
}

/* Of an open connection, or of one that waits for an answer: a hash reference of its own for each call, or undef. */
SV *ws_tls_of(pTHX_ ws_context *ctx, uint64_t id)
{
    evws_tls_info info;
    HV *hash;

    if (!evws_tls(ctx->engine, id, &info))
        return newSV(0);
    hash = newHV();
    (void)hv_stores(hash, "version", ws_text_sv(aTHX_ info.version));
    (void)hv_stores(hash, "cipher", ws_text_sv(aTHX_ info.cipher));
    (void)hv_stores(hash, "alpn", ws_text_sv(aTHX_ info.alpn));
    (void)hv_stores(hash, "server_name", peer_text(aTHX_ info.server_name));
    (void)hv_stores(hash, "peer_certificate", peer_text(aTHX_ info.certificate));
    (void)hv_stores(hash, "verified", newSViv(info.verified));
    (void)hv_stores(hash, "resumed", newSViv(info.resumed));
    return newRV_noinc((SV *)hash);
}
