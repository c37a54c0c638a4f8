/* What the engine refuses, as a croak says it: with the method that the program has called, and with our names of
 * the options.
 */
#include "websockets.h"

static evws_bytes name_of(ws_option which)
{
    evws_bytes name;

    name.data = (const uint8_t *)ws_option_name(which);
    name.length = strlen(ws_option_name(which));
    return name;
}

/* Why the last call was refused, in the engine's words and with our names. */
static evws_bytes error_text(evws_context *engine)
{
    evws_names names;

    names.cert = name_of(WS_OPT_SSL_CERT);
    names.key = name_of(WS_OPT_SSL_KEY);
    names.ca = name_of(WS_OPT_SSL_CA);
    names.client_ca = name_of(WS_OPT_SSL_CLIENT_CA);
    names.sni = name_of(WS_OPT_SSL_SNI);
    names.alpn = name_of(WS_OPT_SSL_ALPN);
    names.origins = name_of(WS_OPT_ORIGINS);
    names.hosts = name_of(WS_OPT_HOSTS);
    names.trusted_proxies = name_of(WS_OPT_TRUSTED_PROXIES);
    names.deflate = name_of(WS_OPT_DEFLATE);
    return evws_error_text(engine, &names);
}

/* With the engine's words for the call that just failed. `method` is what the program has called. Some croaks are
 * as 0.10 had them. */
void ws_context_croak(pTHX_ ws_context *ctx, const char *method)
{
    evws_context *engine = ws_context_engine(aTHX_ ctx);
    evws_bytes text = error_text(engine);

    switch (evws_last_error_kind(engine)) {
    case EVWS_ERROR_BUG:
        croak(WS_BUG);
    case EVWS_ERROR_URL_SCHEME:
        method = NULL;
        break;
    case EVWS_ERROR_CERTIFICATE:
        method = "Failed to create vhost for listening";
        break;
    case EVWS_ERROR_ADOPTED:
        method = "Failed to adopt socket";
        break;
    }
    croak("%s%s%.*s", method ? method : "", method ? ": " : "", (int)text.length, WS_TEXT(text));
}

void ws_or_croak(pTHX_ ws_context *ctx, const char *method, evws_status status)
{
    if (status != EVWS_STATUS_OK)
        ws_context_croak(aTHX_ ctx, method);
}
