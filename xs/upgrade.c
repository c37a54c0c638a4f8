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
    WS_LIST_GIVE(ws_option_entries(aTHX_ o, WS_OPT_ORIGINS, patterns), out->origins);
    out->check_origin = TRUE;
    out->ask_origin = av_len(patterns) >= 0;
    return out->ask_origin ? patterns : NULL;
}

/* Returns the patterns among the origins, a mortal, or NULL: there are none. */
AV *ws_option_upgrade(pTHX_ const ws_options *o, evws_upgrade_options *out)
{
    ws_option_settings(aTHX_ o, TRUE, &out->settings);
    ws_options_read(aTHX_ o, WS_IN_upgrade_options, out);
    out->ask_handshake = ws_option_given(aTHX_ o, WS_OPT_ON_HANDSHAKE);
    out->check_host = o->value[WS_OPT_HOSTS] != NULL;
    if (out->check_host)
        WS_LIST_GIVE(ws_option_entries(aTHX_ o, WS_OPT_HOSTS, NULL), out->allowed_hosts);
    return origin_options(aTHX_ o, out);
}
