/* TLS: the options of connect and listen, and what was agreed on.
 *
 * What a program relies on for its safety is never guessed at: an option that
 * says nothing clear, or nothing without another one, croaks.
 */
#include "websockets.h"

void ws_tls_connect(pTHX_ const ws_options *o, HV *settings, evws_client_tls *out)
{
    ws_byte_list alpn;

    out->verify = ws_option_flag(aTHX_ o, WS_OPT_SSL_VERIFY, TRUE);
    out->ca = ws_option_file(aTHX_ o, WS_OPT_SSL_CA, settings);
    out->cert = ws_option_file(aTHX_ o, WS_OPT_SSL_CERT, settings);
    out->key = ws_option_file(aTHX_ o, WS_OPT_SSL_KEY, settings);
    out->server_name = ws_option_file(aTHX_ o, WS_OPT_SSL_SERVER_NAME, NULL);
    ws_option_names(aTHX_ o, WS_OPT_SSL_ALPN, &alpn);
    out->alpn = alpn.item;
    out->alpn_count = alpn.count;
}

/* ---- listen ---- */

static evws_verify_client verify_client_option(pTHX_ const ws_options *o)
{
    SV *value = o->value[WS_OPT_SSL_VERIFY_CLIENT];
    SV *plain = value && SvOK(value) ? ws_plain_scalar(aTHX_ value) : NULL;
    STRLEN length;
    const char *text;

    if (!value)
        return EVWS_VERIFY_CLIENT_NO;
    if (plain) {
        text = SvPV(plain, length);
        if (length == 8 && memEQ(text, "optional", 8))
            return EVWS_VERIFY_CLIENT_OPTIONAL;
        /* Perl's own false is an empty string, and a number as well. */
        if (SvIOK(plain) || looks_like_number(plain)) {
            if (SvNV(plain) == 1)
                return EVWS_VERIFY_CLIENT_REQUIRED;
            if (SvNV(plain) == 0)
                return EVWS_VERIFY_CLIENT_NO;
        }
    }
    croak("listen: ssl_verify_client must be 0, 1 or 'optional' (got '%s')", SvPV_nolen(ws_shown(aTHX_ value)));
    return EVWS_VERIFY_CLIENT_REQUIRED;
}

static void check_combination(pTHX_ const ws_options *o, evws_verify_client verify)
{
    static const struct {
        const char *name;
        ws_option option;
    } needs_tls[] = {
        { "ssl_client_ca", WS_OPT_SSL_CLIENT_CA }, { "ssl_sni", WS_OPT_SSL_SNI }, { "ssl_alpn", WS_OPT_SSL_ALPN },
    };
    bool cert = ws_option_given(aTHX_ o, WS_OPT_SSL_CERT);
    bool client_ca = ws_option_given(aTHX_ o, WS_OPT_SSL_CLIENT_CA);
    size_t i;

    if (cert != ws_option_given(aTHX_ o, WS_OPT_SSL_KEY))
        croak("listen: ssl_cert and ssl_key must both be set for TLS (only %s was given)",
              cert ? "ssl_cert" : "ssl_key");
    if (!cert && verify != EVWS_VERIFY_CLIENT_NO)
        croak("listen: ssl_verify_client is for TLS, which needs ssl_cert and ssl_key");
    for (i = 0; !cert && i < C_ARRAY_LENGTH(needs_tls); i++)
        if (ws_option_given(aTHX_ o, needs_tls[i].option))
            croak("listen: %s is for TLS, which needs ssl_cert and ssl_key", needs_tls[i].name);
    if (verify != EVWS_VERIFY_CLIENT_NO && !client_ca)
        croak("listen: ssl_verify_client needs ssl_client_ca, the roots of the clients' certificates");
    if (client_ca && !o->value[WS_OPT_SSL_VERIFY_CLIENT])
        croak("listen: ssl_client_ca needs ssl_verify_client, which says 1 or 'optional'");
}

static evws_bytes sni_file(pTHX_ SV *host, AV *files, I32 which)
{
    SV **slot = av_fetch(files, which, 0);
    SV *plain = slot ? ws_plain_scalar(aTHX_ sv_mortalcopy(*slot)) : NULL;

    if (!plain || !SvOK(plain))
        croak("listen: ssl_sni '%s': the %s must be the name of a file", SvPV_nolen(ws_shown(aTHX_ host)),
              which ? "key" : "certificate");
    return ws_bytes(aTHX_ plain);
}

/* Built in the string buffer of a mortal, as the lists of options.c. */
static void sni_option(pTHX_ const ws_options *o, evws_server_tls *out)
{
    SV *value = o->value[WS_OPT_SSL_SNI];
    SV *buffer = sv_2mortal(newSVpvs(""));
    HV *hash;
    HE *entry;

    if (!value)
        return;
    if (!SvROK(value) || SvTYPE(SvRV(value)) != SVt_PVHV)
        croak("listen: ssl_sni must be a hash reference (got '%s')", SvPV_nolen(ws_shown(aTHX_ value)));
    hash = (HV *)SvRV(value);
    hv_iterinit(hash);
    while ((entry = hv_iternext(hash))) {
        SV *host = sv_mortalcopy(hv_iterkeysv(entry));
        SV *files = sv_mortalcopy(hv_iterval(hash, entry));
        evws_named_certificate one;

        if (!SvROK(files) || SvTYPE(SvRV(files)) != SVt_PVAV || av_len((AV *)SvRV(files)) != 1)
            croak("listen: ssl_sni '%s' must be an array reference of two files, [$cert, $key]",
                  SvPV_nolen(ws_shown(aTHX_ host)));
        one.host = ws_bytes(aTHX_ host);
        one.cert = sni_file(aTHX_ host, (AV *)SvRV(files), 0);
        one.key = sni_file(aTHX_ host, (AV *)SvRV(files), 1);
        sv_catpvn(buffer, (const char *)&one, sizeof one);
    }
    out->sni = (evws_named_certificate *)SvPVX(buffer);
    out->sni_count = SvCUR(buffer) / sizeof(evws_named_certificate);
}

/* What browsers offer, and whatever else speaks HTTP: it is answered, so that
 * nobody takes it for HTTP/2. */
static void alpn_option(pTHX_ const ws_options *o, evws_server_tls *out)
{
    static const evws_bytes http = { (const uint8_t *)"http/1.1", 8 };
    ws_byte_list alpn;

    if (!ws_option_given(aTHX_ o, WS_OPT_SSL_ALPN)) {
        out->alpn = &http;
        out->alpn_count = 1;
        return;
    }
    ws_option_names(aTHX_ o, WS_OPT_SSL_ALPN, &alpn);
    out->alpn = alpn.item;
    out->alpn_count = alpn.count;
}

void ws_tls_listen(pTHX_ const ws_options *o, evws_server_tls *out)
{
    out->verify_client = verify_client_option(aTHX_ o);
    check_combination(aTHX_ o, out->verify_client);
    out->cert = ws_option_file(aTHX_ o, WS_OPT_SSL_CERT, NULL);
    out->key = ws_option_file(aTHX_ o, WS_OPT_SSL_KEY, NULL);
    out->ca = ws_option_file(aTHX_ o, WS_OPT_SSL_CA, NULL);
    out->client_ca = ws_option_file(aTHX_ o, WS_OPT_SSL_CLIENT_CA, NULL);
    sni_option(aTHX_ o, out);
    alpn_option(aTHX_ o, out);
}

/* ---- what was agreed on ---- */

static void store(pTHX_ HV *hash, const char *name, SV *value)
{
    (void)hv_store(hash, name, (I32)strlen(name), value, 0);
}

static void store_text(pTHX_ HV *hash, const char *name, evws_bytes text)
{
    store(aTHX_ hash, name, text.data ? newSVpvn((const char *)text.data, text.length) : newSV(0));
}

static void store_peer(pTHX_ HV *hash, const char *name, evws_bytes text)
{
    store(aTHX_ hash, name, text.data ? ws_peer_sv(aTHX_ text) : newSV(0));
}

/* Of an open connection, or of one that waits for an answer: a hash reference of its own for each call, or undef. */
SV *ws_tls_of(pTHX_ ws_context *ctx, uint64_t id)
{
    evws_tls_info info;
    HV *hash;

    if (!ctx->engine || !evws_tls(ctx->engine, id, &info))
        return newSV(0);
    hash = newHV();
    store_text(aTHX_ hash, "version", info.version);
    store_text(aTHX_ hash, "cipher", info.cipher);
    store_text(aTHX_ hash, "alpn", info.alpn);
    store_peer(aTHX_ hash, "server_name", info.server_name);
    store_peer(aTHX_ hash, "peer_certificate", info.certificate);
    store(aTHX_ hash, "verified", newSViv(info.verified));
    store(aTHX_ hash, "resumed", newSViv(info.resumed));
    return newRV_noinc((SV *)hash);
}

SV *ws_tls(pTHX_ ws_connection *conn)
{
    return conn && conn->open ? ws_tls_of(aTHX_ conn->ctx, conn->id) : newSV(0);
}
