/* What the engine refuses, as a croak says it: with the method that the program has called, and with our names of
 * the options.
 */
#include "websockets.h"

/* Why the last call was refused, in the engine's words, and with the value as the program gave it, which may be NULL. */
static evws_bytes error_text(pTHX_ evws_context *engine, SV *given)
{
    const char *shown = given ? ws_shown(aTHX_ given) : NULL;
    evws_names names;

    names.tls_prefix.data = (const uint8_t *)"ssl_";
    names.tls_prefix.length = 4;
    names.given.data = (const uint8_t *)shown;
    names.given.length = shown ? strlen(shown) : 0;
    return evws_error_text(engine, &names);
}

/* With the engine's words for the call that just failed. `method` is what the program has called, `given` the value that
 * may have been refused, or NULL. Some croaks are as 0.10 had them. */
void ws_context_croak(pTHX_ ws_context *ctx, const char *method, SV *given)
{
    evws_context *engine = ws_context_engine(aTHX_ ctx);
    evws_bytes text = error_text(aTHX_ engine, given);
    const char *option = "";                /* that the words are about, and do not name */

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
    case EVWS_ERROR_ORIGINS:
        option = "origins: ";
        break;
    case EVWS_ERROR_HOSTS:
        option = "hosts: ";
        break;
    case EVWS_ERROR_TRUSTED_PROXIES:
        option = "trusted_proxies: ";
        break;
    case EVWS_ERROR_SERVER_MAX_WINDOW_BITS:
    case EVWS_ERROR_CLIENT_MAX_WINDOW_BITS:
    case EVWS_ERROR_LEVEL:
        option = "deflate: ";
        break;
    }
    croak("%s%s%s%.*s", method ? method : "", method ? ": " : "", option, (int)text.length, WS_TEXT(text));
}

void ws_or_croak(pTHX_ ws_context *ctx, const char *method, SV *given, evws_status status)
{
    if (status == EVWS_STATUS_NO_MEMORY)
        croak("%s: out of memory: nothing was sent", method);
    if (status != EVWS_STATUS_OK)
        ws_context_croak(aTHX_ ctx, method, given);
}

/* The same for a call with options: for a refused one the value that the program gave is at hand. */
void ws_options_or_croak(pTHX_ ws_context *ctx, const ws_options *o, evws_status status)
{
    SV *given = NULL;

    if (status == EVWS_STATUS_OK)
        return;
    switch (evws_last_error_kind(ws_context_engine(aTHX_ ctx))) {
    case EVWS_ERROR_SERVER_MAX_WINDOW_BITS: given = o->value[WS_OPT_SERVER_MAX_WINDOW_BITS]; break;
    case EVWS_ERROR_CLIENT_MAX_WINDOW_BITS: given = o->value[WS_OPT_CLIENT_MAX_WINDOW_BITS]; break;
    case EVWS_ERROR_LEVEL:                  given = o->value[WS_OPT_LEVEL];                  break;
    }
    ws_or_croak(aTHX_ ctx, o->method, given, status);
}
