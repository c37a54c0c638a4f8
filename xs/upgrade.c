/* The options of listen and adopt that say which upgrades are accepted, and how.
 */
#include "websockets.h"

/* The entries of an option that says who may come in. Strings are the engine's; patterns go to `patterns`, which is
 * NULL where there may be none. */
static void entries_option(pTHX_ const ws_options *o, ws_option which, const char *name, AV *patterns, ws_byte_list *out)
{
    SV *buffer = sv_2mortal(newSVpvs(""));
    SV *value = o->value[which];
    SSize_t i;

    if (!SvROK(value) || SvTYPE(SvRV(value)) != SVt_PVAV)
        croak("%s: %s must be an array reference (got '%s')", o->method, name, SvPV_nolen(ws_shown(aTHX_ value)));
    for (i = 0; i <= av_len((AV *)SvRV(value)); i++) {
        SV **slot = av_fetch((AV *)SvRV(value), i, 0);
        SV *entry = slot ? sv_mortalcopy(*slot) : sv_newmortal();

        if (patterns && SvROK(entry) && SvRXOK(entry))
            av_push(patterns, newSVsv(entry));
        else
            ws_append_string(aTHX_ buffer, o, name, i, entry);
    }
    out->item = (evws_bytes *)SvPVX(buffer);
    out->count = SvCUR(buffer) / sizeof(evws_bytes);
}

/* Patterns are matched by Perl, the rest by the engine. An undef croaks: it is a
 * mistake, and letting everybody in would be the wrong guess at what was meant. */
static AV *origin_options(pTHX_ const ws_options *o, evws_upgrade_options *out)
{
    ws_byte_list origins;
    AV *patterns;

    if (!o->value[WS_OPT_ORIGINS])
        return NULL;
    patterns = (AV *)sv_2mortal((SV *)newAV());
    entries_option(aTHX_ o, WS_OPT_ORIGINS, "origins", patterns, &origins);
    out->check_origin = TRUE;
    out->origins = origins.item;
    out->origin_count = origins.count;
    out->ask_origin = av_len(patterns) >= 0;
    return out->ask_origin ? patterns : NULL;
}

static void host_options(pTHX_ const ws_options *o, evws_upgrade_options *out)
{
    ws_byte_list hosts;

    if (!o->value[WS_OPT_HOSTS])
        return;
    entries_option(aTHX_ o, WS_OPT_HOSTS, "hosts", NULL, &hosts);
    out->check_host = TRUE;
    out->allowed_hosts = hosts.item;
    out->allowed_host_count = hosts.count;
}

/* All but what the callbacks say. Returns the patterns among the origins, a
 * mortal, or NULL: there are none. */
AV *ws_option_upgrade(pTHX_ const ws_options *o, evws_upgrade_options *out)
{
    ws_byte_list protocols;
    ws_header_list headers;

    ws_option_names(aTHX_ o, WS_OPT_PROTOCOL, &protocols);
    out->protocols = protocols.item;
    out->protocol_count = protocols.count;
    ws_option_headers(aTHX_ o, &headers);
    out->headers = headers.item;
    out->header_count = headers.count;
    out->max_message_size = ws_option_size(aTHX_ o, WS_OPT_MAX_MESSAGE_SIZE);
    out->validate_utf8 = ws_option_flag(aTHX_ o, WS_OPT_VALIDATE_UTF8, TRUE);
    out->handshake_timeout = ws_option_number(aTHX_ o, WS_OPT_HANDSHAKE_TIMEOUT, WS_HANDSHAKE_TIMEOUT, NV_MAX);
    ws_option_deflate(aTHX_ o, FALSE, TRUE, &out->deflate);
    host_options(aTHX_ o, out);
    return origin_options(aTHX_ o, out);
}
