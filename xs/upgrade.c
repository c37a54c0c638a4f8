/* The options of listen and adopt that say which upgrades are accepted, and how.
 */
#include "websockets.h"

/* Patterns are matched by Perl, the rest by the engine. An undef croaks: it is a
 * mistake, and letting everybody in would be the wrong guess at what was meant. */
static AV *origin_options(pTHX_ const ws_options *o, evws_upgrade_options *out)
{
    AV *patterns;

    if (!o->value[WS_OPT_ORIGINS])
        return NULL;
    patterns = (AV *)sv_2mortal((SV *)newAV());
    WS_LIST_GIVE(ws_option_entries(aTHX_ o, WS_OPT_ORIGINS, patterns), out->origins, out->origin_count);
    out->check_origin = TRUE;
    out->ask_origin = av_len(patterns) >= 0;
    return out->ask_origin ? patterns : NULL;
}

/* All but what the callbacks say. Returns the patterns among the origins, a
 * mortal, or NULL: there are none. */
AV *ws_option_upgrade(pTHX_ const ws_options *o, evws_upgrade_options *out)
{
    WS_LIST_GIVE(ws_option_names(aTHX_ o, WS_OPT_PROTOCOL), out->protocols, out->protocol_count);
    WS_LIST_GIVE(ws_option_headers(aTHX_ o), out->headers, out->header_count);
    out->max_message_size = ws_option_size(aTHX_ o, WS_OPT_MAX_MESSAGE_SIZE);
    out->validate_utf8 = ws_option_flag(aTHX_ o, WS_OPT_VALIDATE_UTF8, TRUE);
    out->handshake_timeout = ws_option_number(aTHX_ o, WS_OPT_HANDSHAKE_TIMEOUT, WS_HANDSHAKE_TIMEOUT, NV_MAX);
    ws_option_deflate(aTHX_ o, FALSE, TRUE, &out->deflate);
    out->check_host = o->value[WS_OPT_HOSTS] != NULL;
    if (out->check_host)
        WS_LIST_GIVE(ws_option_entries(aTHX_ o, WS_OPT_HOSTS, NULL), out->allowed_hosts, out->allowed_host_count);
    return origin_options(aTHX_ o, out);
}
