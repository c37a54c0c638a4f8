/* What connect, listen and adopt have in common; the option deflate among it:
 * permessage-deflate (RFC 7692), as a flag or as a hash of options. And what listen
 * and adopt have in common beside that: which upgrades are accepted, and how.
 */
#include "websockets.h"

static bool flag(pTHX_ const ws_options *o, ws_option which, bool otherwise)
{
    return ws_option_given(aTHX_ o, which) ? ws_option_flag(aTHX_ o, which) : otherwise;
}

/* A server keeps no context between messages unless it is told to: what a
 * connection costs it is then decided by it, and not by its clients. */
static void set(pTHX_ const ws_options *o, bool is_server, evws_deflate_options *out)
{
    ws_options_read(aTHX_ o, WS_IN_deflate_options, out);
    out->enabled = TRUE;
    out->server_no_context_takeover = flag(aTHX_ o, WS_OPT_SERVER_NO_CONTEXT_TAKEOVER, is_server);
    out->client_no_context_takeover = flag(aTHX_ o, WS_OPT_CLIENT_NO_CONTEXT_TAKEOVER, is_server);
}

/* When the option is not given, it is on for a client. */
static void deflate_option(pTHX_ ws_options *o, bool is_server, evws_deflate_options *out)
{
    SV *value = o->value[WS_OPT_DEFLATE];
    HV *hash = ws_option_given(aTHX_ o, WS_OPT_DEFLATE) ? ws_hash(value) : NULL;
    SV *what = hash ? sv_2mortal(newSVpvf("%s: deflate", o->method)) : NULL;
    ws_options options;

    if (hash)
        ws_options_of_hash(aTHX_ &options, SvPV_nolen(what), WS_FOR_DEFLATE, hash, o);
    else
        Zero(&options, 1, ws_options);
    set(aTHX_ &options, is_server, out);
    if (hash)
        return;
    if (value && SvROK(value) && !ws_has_text(aTHX_ value))
        ws_option_must_be(aTHX_ o, WS_OPT_DEFLATE, "true, false or a hash reference");
    out->enabled = flag(aTHX_ o, WS_OPT_DEFLATE, !is_server);
}

/* What connect, listen and adopt have in common. */
void ws_option_settings(pTHX_ ws_options *o, bool is_server, evws_settings *out)
{
    ws_options_read(aTHX_ o, WS_IN_settings, out);
    ws_options_read(aTHX_ o, WS_IN_limits, &out->limits);
    if (out->limits.send_low_water > out->limits.send_high_water)
        ws_option_must_be(aTHX_ o, WS_OPT_SEND_LOW_WATER, "at most send_high_water");
    deflate_option(aTHX_ o, is_server, &out->deflate);
    out->wants = ws_options_wants(aTHX_ o);
}

/* ---- upgrades ---- */

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
AV *ws_option_upgrade(pTHX_ ws_options *o, evws_upgrade_options *out)
{
    ws_option_settings(aTHX_ o, TRUE, &out->settings);
    ws_options_read(aTHX_ o, WS_IN_upgrade_options, out);
    out->ask_handshake = ws_option_given(aTHX_ o, WS_OPT_ON_HANDSHAKE);
    out->check_host = o->value[WS_OPT_HOSTS] != NULL;
    if (out->check_host)
        WS_LIST_GIVE(ws_option_entries(aTHX_ o, WS_OPT_HOSTS, NULL), out->hosts);
    out->check_proxy = o->value[WS_OPT_TRUSTED_PROXIES] != NULL;
    if (out->check_proxy)
        WS_LIST_GIVE(ws_option_entries(aTHX_ o, WS_OPT_TRUSTED_PROXIES, NULL), out->trusted_proxies);
    return origin_options(aTHX_ o, out);
}
