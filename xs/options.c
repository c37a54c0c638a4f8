/* The options of new, connect, listen, adopt and shutdown: names, types, croaks.
 *
 * Every value is copied to a mortal first. That runs whatever Perl code hides
 * behind it (tie, overloading) before anything is decided, keeps strings alive
 * until the XSUB returns, and leaves nothing to free when a check croaks.
 */
#include "websockets.h"

/* Before Perl 5.14 pv_escape knows no other way. */
#ifndef PERL_PV_ESCAPE_NONASCII
#  define PERL_PV_ESCAPE_NONASCII 0
#endif

typedef struct {
    const char *name;
    U32 methods;                /* ws_method bits that know it */
} ws_option_spec;

#define WS_FOR_ALL_CONNECTIONS (WS_FOR_CONNECT | WS_FOR_LISTEN | WS_FOR_ADOPT)

/* Indexed by ws_option. */
static const ws_option_spec ws_option_specs[WS_OPT_COUNT] = {
    { "url",              WS_FOR_CONNECT },
    { "protocol",         WS_FOR_ALL_CONNECTIONS },
    { "headers",          WS_FOR_ALL_CONNECTIONS },
    { "max_message_size", WS_FOR_ALL_CONNECTIONS },
    { "connect_timeout",  WS_FOR_CONNECT },
    { "validate_utf8",    WS_FOR_ALL_CONNECTIONS },
    { "utf8",             WS_FOR_ALL_CONNECTIONS },
    { "deflate",          WS_FOR_ALL_CONNECTIONS },
    { "port",             WS_FOR_LISTEN },
    { "host",             WS_FOR_LISTEN },
    { "backlog",          WS_FOR_LISTEN },
    { "reuse_port",       WS_FOR_LISTEN },
    { "fd",               WS_FOR_LISTEN },
    { "path",             WS_FOR_LISTEN },
    { "mode",             WS_FOR_LISTEN },
    { "name",             WS_FOR_LISTEN },
    { "loop",             WS_FOR_NEW },
    { "proxy",            WS_FOR_NEW },
    { "proxy_port",       WS_FOR_NEW },
    { "ssl_cert",         WS_FOR_NEW | WS_FOR_CONNECT | WS_FOR_LISTEN },
    { "ssl_key",          WS_FOR_NEW | WS_FOR_CONNECT | WS_FOR_LISTEN },
    { "ssl_ca",           WS_FOR_NEW | WS_FOR_CONNECT | WS_FOR_LISTEN },
    { "ssl_verify",       WS_FOR_CONNECT },
    { "ssl_server_name",  WS_FOR_CONNECT },
    { "ssl_alpn",         WS_FOR_CONNECT | WS_FOR_LISTEN },
    { "ssl_verify_client", WS_FOR_LISTEN },
    { "ssl_client_ca",    WS_FOR_LISTEN },
    { "ssl_sni",          WS_FOR_LISTEN },
    { "ssl_init",         WS_FOR_NEW },
    { "fh",               WS_FOR_ADOPT },
    { "env",              WS_FOR_ADOPT },
    { "initial_data",     WS_FOR_ADOPT },
    { "role",             WS_FOR_ADOPT },
    { "upgraded",         WS_FOR_ADOPT },
    { "on_handshake",     WS_FOR_LISTEN | WS_FOR_ADOPT },
    { "on_request",       WS_FOR_LISTEN },
    { "handshake_timeout", WS_FOR_LISTEN | WS_FOR_ADOPT },
    { "origins",          WS_FOR_LISTEN | WS_FOR_ADOPT },
    { "hosts",            WS_FOR_LISTEN | WS_FOR_ADOPT },
    { "timeout",          WS_FOR_SHUTDOWN },
    { "code",             WS_FOR_SHUTDOWN },
    { "reason",           WS_FOR_SHUTDOWN },
    { "cb",               WS_FOR_SHUTDOWN },
    { "on_connect",       WS_FOR_ALL_CONNECTIONS },
    { "on_message",       WS_FOR_ALL_CONNECTIONS },
    { "on_close",         WS_FOR_ALL_CONNECTIONS },
    { "on_error",         WS_FOR_ALL_CONNECTIONS },
    { "on_pong",          WS_FOR_ALL_CONNECTIONS },
    { "on_drain",         WS_FOR_ALL_CONNECTIONS },
};

static const char *method_name(ws_method method)
{
    switch (method) {
    case WS_FOR_NEW:      return "new";
    case WS_FOR_CONNECT:  return "connect";
    case WS_FOR_LISTEN:   return "listen";
    case WS_FOR_SHUTDOWN: return "shutdown";
    default:              return "adopt";
    }
}

/* A value as an error message shows it: short, and on one line. */
SV *ws_shown(pTHX_ SV *value)
{
    STRLEN length;
    const char *text;

    if (!SvOK(value))
        return newSVpvn_flags("undef", 5, SVs_TEMP);
    text = SvPV(value, length);
    return sv_2mortal(newSVpv(pv_escape(sv_newmortal(), text, length, 60, NULL,
                                        PERL_PV_ESCAPE_NONASCII), 0));
}

/* Not known to `method`. Warns, or croaks where that would leave a door open. */
static void unknown_option(pTHX_ const ws_options *o, ws_method method, SV *name)
{
    static const ws_method others[] = { WS_FOR_NEW, WS_FOR_CONNECT, WS_FOR_LISTEN, WS_FOR_ADOPT };
    ws_unknown unknown;
    size_t other;
    int i;

    ws_unknown_begin(aTHX_ &unknown, o->method, name);
    for (i = 0; i < WS_OPT_COUNT; i++) {
        const ws_option_spec *spec = &ws_option_specs[i];

        if (spec->methods & method)
            ws_unknown_compare(&unknown, spec->name);
        else if (strlen(spec->name) == unknown.length && memEQ(unknown.text, spec->name, unknown.length))
            for (other = 0; other < C_ARRAY_LENGTH(others); other++)
                if (spec->methods & others[other])
                    unknown.elsewhere = method_name(others[other]);
    }
    if ((method & (WS_FOR_LISTEN | WS_FOR_ADOPT)) || ws_unknown_guards_a_door(&unknown))
        ws_unknown_croak(aTHX_ &unknown);
    ws_unknown_warn(aTHX_ &unknown);
}

static void store_option(pTHX_ ws_options *o, ws_method method, SV *name, SV *value)
{
    const char *text;
    STRLEN length;
    int i;

    if (!SvOK(name))
        croak("%s: the name of an option is undefined", o->method);
    text = SvPV(name, length);
    for (i = 0; i < WS_OPT_COUNT; i++) {
        const ws_option_spec *spec = &ws_option_specs[i];

        if ((spec->methods & method) && length == strlen(spec->name) && memEQ(text, spec->name, length)) {
            o->value[i] = sv_mortalcopy(value);
            return;
        }
    }
    unknown_option(aTHX_ o, method, name);
}

/* Text that is not UTF-8 cannot be decoded. The flag is read again when no Perl code may run any more. */
static void settle_utf8(pTHX_ ws_options *o)
{
    const bool utf8 = ws_option_flag(aTHX_ o, WS_OPT_UTF8, FALSE);

    o->value[WS_OPT_UTF8] = boolSV(utf8);
    if (utf8 && !ws_option_flag(aTHX_ o, WS_OPT_VALIDATE_UTF8, TRUE))
        croak("%s: utf8 is for text that is UTF-8, and validate_utf8 is false", o->method);
}

/* `args` are the arguments after the invocant. They are copied before the
 * first is looked at: what Perl code behind a value does to @_ or to the
 * argument stack is then of no consequence. */
void ws_options_parse(pTHX_ ws_options *o, ws_method method, SV **args, I32 count)
{
    AV *pairs = (AV *)sv_2mortal((SV *)av_make(count, args));
    I32 i;

    Zero(o, 1, ws_options);
    o->method = method_name(method);
    if (count % 2)
        croak("odd number of options: key '%s' has no value",
              SvPV_nolen(ws_shown(aTHX_ *av_fetch(pairs, count - 1, 0))));
    for (i = 0; i < count; i += 2)
        store_option(aTHX_ o, method, *av_fetch(pairs, i, 0), *av_fetch(pairs, i + 1, 0));
    settle_utf8(aTHX_ o);
}

/* An option given as undef counts as not given, except where listen says
 * otherwise: `ssl_verify => undef` must not turn verification off. */
bool ws_option_given(pTHX_ const ws_options *o, ws_option which)
{
    PERL_UNUSED_CONTEXT;
    return o->value[which] && SvOK(o->value[which]);
}

/* NULL for a reference without overloading: it is neither text nor number. */
SV *ws_plain_scalar(pTHX_ SV *value)
{
    STRLEN length;
    const char *text;

    if (!SvROK(value))
        return value;
    if (!SvAMAGIC(value))
        return NULL;
    text = SvPV(value, length);
    return newSVpvn_flags(text, length, SVs_TEMP | SvUTF8(value));
}

/* An array, and no object that is to be taken for the text it says it is. */
bool ws_is_list(pTHX_ SV *value)
{
    if (!SvROK(value) || SvTYPE(SvRV(value)) != SVt_PVAV)
        return FALSE;
    return !SvAMAGIC(value) || !gv_fetchmeth(SvSTASH(SvRV(value)), "(\"\"", 3, 0);
}

/* Borrowed. */
evws_bytes ws_bytes(pTHX_ SV *value)
{
    evws_bytes bytes;
    STRLEN length;

    bytes.data = (const uint8_t *)SvPV(value, length);
    bytes.length = length;
    return bytes;
}

evws_bytes ws_option_string(pTHX_ const ws_options *o, ws_option which)
{
    SV *plain = ws_plain_scalar(aTHX_ o->value[which]);

    if (!plain)
        croak("%s: %s must be a string (got '%s')", o->method, ws_option_specs[which].name,
              SvPV_nolen(ws_shown(aTHX_ o->value[which])));
    return ws_bytes(aTHX_ plain);
}

/* The same for what a peer has sent: characters beyond 255 never were bytes. */
evws_bytes ws_option_octets(pTHX_ const ws_options *o, ws_option which)
{
    evws_bytes none = { NULL, 0 };
    SV *plain;

    if (!ws_option_given(aTHX_ o, which))
        return none;
    plain = ws_plain_scalar(aTHX_ o->value[which]);
    if (!plain)
        return ws_option_string(aTHX_ o, which);
    if (!sv_utf8_downgrade(plain, TRUE))
        croak("%s: %s must be bytes, and has characters beyond 255", o->method, ws_option_specs[which].name);
    return ws_bytes(aTHX_ plain);
}

/* The same where nothing may be given: not in this call, nor to new(), whose settings stand in for it. `data` is NULL
 * then, and only then. */
evws_bytes ws_option_file(pTHX_ const ws_options *o, ws_option which, HV *settings)
{
    const char *name = ws_option_specs[which].name;
    evws_bytes none;
    SV **kept;

    none.data = NULL;
    none.length = 0;
    if (ws_option_given(aTHX_ o, which))
        return ws_option_string(aTHX_ o, which);
    kept = settings ? hv_fetch(settings, name, (I32)strlen(name), 0) : NULL;
    return kept ? ws_bytes(aTHX_ sv_mortalcopy(*kept)) : none;
}

/* A number from 0 to `greatest`, a whole one if that is less than NV_MAX. looks_like_number comes first because SvNV of
 * other text warns, in words that do not name the option. */
NV ws_option_number(pTHX_ const ws_options *o, ws_option which, NV otherwise, NV greatest)
{
    SV *plain;
    NV number = -1;

    if (!ws_option_given(aTHX_ o, which))
        return otherwise;
    plain = ws_plain_scalar(aTHX_ o->value[which]);
    if (plain && looks_like_number(plain))
        number = SvNV(plain);
    if (number >= 0 && number <= greatest && (greatest == NV_MAX || number == Perl_floor(number)))
        return number;
    if (greatest < NV_MAX)
        croak("%s: %s must be a whole number from 0 to %.0" NVff " (got '%s')", o->method,
              ws_option_specs[which].name, greatest, SvPV_nolen(ws_shown(aTHX_ o->value[which])));
    croak("%s: %s must be a non-negative number (got '%s')", o->method,
          ws_option_specs[which].name, SvPV_nolen(ws_shown(aTHX_ o->value[which])));
    return 0;
}

/* Rounded up: a limit of half a byte is a limit, and 0 would mean none. */
uint64_t ws_option_size(pTHX_ const ws_options *o, ws_option which)
{
    NV size = Perl_ceil(ws_option_number(aTHX_ o, which, 0, NV_MAX));

    return size >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)size;
}

bool ws_option_flag(pTHX_ const ws_options *o, ws_option which, bool otherwise)
{
    return ws_option_given(aTHX_ o, which) ? cBOOL(SvTRUE(o->value[which])) : otherwise;
}

/* The options given, by name, for a context to keep. Mortal. */
HV *ws_options_settings(pTHX_ const ws_options *o)
{
    HV *settings = (HV *)sv_2mortal((SV *)newHV());
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++)
        if (ws_option_given(aTHX_ o, (ws_option)i))
            (void)hv_store(settings, ws_option_specs[i].name, (I32)strlen(ws_option_specs[i].name),
                           newSVsv(o->value[i]), 0);
    return settings;
}

static bool is_code(pTHX_ SV *value)
{
    if (!SvROK(value))
        return FALSE;
    if (SvTYPE(SvRV(value)) == SVt_PVCV)
        return TRUE;
    return SvAMAGIC(value) && gv_fetchmeth(SvSTASH(SvRV(value)), "(&{}", 4, 0);
}

/* What call_sv is to get, borrowed from the options: the CV itself where there
 * is one, which saves a dereference on every call. NULL: not given. */
SV *ws_option_code(pTHX_ const ws_options *o, ws_option which)
{
    SV *value = o->value[which];

    if (!ws_option_given(aTHX_ o, which))
        return NULL;
    if (!is_code(aTHX_ value))
        croak("%s: %s must be a code reference (got '%s')", o->method,
              ws_option_specs[which].name, SvPV_nolen(ws_shown(aTHX_ value)));
    return SvTYPE(SvRV(value)) == SVt_PVCV ? SvRV(value) : value;
}

/* All are checked before the set is made, so that a croak leaks nothing. */
ws_callbacks *ws_options_callbacks(pTHX_ const ws_options *o)
{
    SV *code[WS_CALLBACK_COUNT];
    ws_callbacks *callbacks;
    int i;

    for (i = 0; i < WS_CALLBACK_COUNT; i++)
        code[i] = ws_option_code(aTHX_ o, (ws_option)(WS_OPT_ON_CONNECT + i));
    Newxz(callbacks, 1, ws_callbacks);
    callbacks->refs = 1;
    callbacks->utf8 = ws_option_flag(aTHX_ o, WS_OPT_UTF8, FALSE);
    for (i = 0; i < WS_CALLBACK_COUNT; i++)
        callbacks->on[i] = SvREFCNT_inc(code[i]);
    return callbacks;
}

/* What nobody listens to need not be reported. */
U32 ws_callbacks_wants(const ws_callbacks *callbacks)
{
    return (callbacks->on[WS_ON_MESSAGE] ? EVWS_WANT_MESSAGE : 0)
         | (callbacks->on[WS_ON_PONG] ? EVWS_WANT_PONG : 0)
         | (callbacks->on[WS_ON_DRAIN] ? EVWS_WANT_DRAIN : 0);
}

/* ---- lists ----
 * Built in the string buffer of a mortal, so that a croak half way frees them. */

/* Only blanks are cut off: a line break is for the engine to refuse. */
static void append_name(pTHX_ SV *buffer, const char *start, const char *end)
{
    evws_bytes name;

    while (start < end && isBLANK_A(*start))
        start++;
    while (end > start && isBLANK_A(end[-1]))
        end--;
    if (start == end)
        return;
    name.data = (const uint8_t *)start;
    name.length = end - start;
    sv_catpvn(buffer, (const char *)&name, sizeof name);
}

static void append_names(pTHX_ SV *buffer, evws_bytes list)
{
    const char *start = (const char *)list.data;
    const char *end = start + list.length;
    const char *comma;

    while ((comma = (const char *)memchr(start, ',', end - start))) {
        append_name(aTHX_ buffer, start, comma);
        start = comma + 1;
    }
    append_name(aTHX_ buffer, start, end);
}

/* `value`, a mortal copy, is number `index` of a list. */
void ws_append_string(pTHX_ SV *buffer, const ws_options *o, const char *option, SSize_t index, SV *value)
{
    SV *plain = ws_plain_scalar(aTHX_ value);
    evws_bytes bytes;

    if (!plain || !SvOK(plain))
        croak("%s: %s number %" IVdf " must be a string", o->method, option, (IV)index + 1);
    bytes = ws_bytes(aTHX_ plain);
    sv_catpvn(buffer, (const char *)&bytes, sizeof bytes);
}

static void append_array(pTHX_ SV *buffer, const ws_options *o, const char *option, AV *array)
{
    SSize_t i;

    for (i = 0; i <= av_len(array); i++) {
        SV **slot = av_fetch(array, i, 0);

        ws_append_string(aTHX_ buffer, o, option, i, slot ? sv_mortalcopy(*slot) : sv_newmortal());
    }
}

/* Names separated by commas, or in an array. */
void ws_option_names(pTHX_ const ws_options *o, ws_option which, ws_byte_list *out)
{
    SV *buffer = sv_2mortal(newSVpvs(""));
    SV *value = o->value[which];

    if (ws_option_given(aTHX_ o, which)) {
        if (ws_is_list(aTHX_ value))
            append_array(aTHX_ buffer, o, ws_option_specs[which].name, (AV *)SvRV(value));
        else
            append_names(aTHX_ buffer, ws_option_string(aTHX_ o, which));
    }
    out->item = (evws_bytes *)SvPVX(buffer);
    out->count = SvCUR(buffer) / sizeof(evws_bytes);
}

/* `value` is a mortal copy. */
static void append_header(pTHX_ SV *buffer, const char *what, SV *name, SV *value)
{
    evws_header header;
    SV *plain = ws_plain_scalar(aTHX_ value);

    if (!plain || !SvOK(plain))
        croak("%s: header '%s' must be a defined string or an array reference of such", what,
              SvPV_nolen(ws_shown(aTHX_ name)));
    header.name = ws_bytes(aTHX_ name);
    header.value = ws_bytes(aTHX_ plain);
    sv_catpvn(buffer, (const char *)&header, sizeof header);
}

static void append_header_values(pTHX_ SV *buffer, const char *what, SV *name, AV *values)
{
    SSize_t i;

    for (i = 0; i <= av_len(values); i++) {
        SV **slot = av_fetch(values, i, 0);

        append_header(aTHX_ buffer, what, name, slot ? sv_mortalcopy(*slot) : sv_newmortal());
    }
}

void ws_headers_from_hash(pTHX_ const char *what, HV *hash, ws_header_list *out)
{
    SV *buffer = sv_2mortal(newSVpvs(""));
    HE *entry;

    hv_iterinit(hash);
    while ((entry = hv_iternext(hash))) {
        SV *name = sv_mortalcopy(hv_iterkeysv(entry));
        SV *value = sv_mortalcopy(hv_iterval(hash, entry));

        if (ws_is_list(aTHX_ value))
            append_header_values(aTHX_ buffer, what, name, (AV *)SvRV(value));
        else
            append_header(aTHX_ buffer, what, name, value);
    }
    out->item = (evws_header *)SvPVX(buffer);
    out->count = SvCUR(buffer) / sizeof(evws_header);
}

void ws_option_headers(pTHX_ const ws_options *o, ws_header_list *out)
{
    SV *value = o->value[WS_OPT_HEADERS];

    out->item = NULL;
    out->count = 0;
    if (!ws_option_given(aTHX_ o, WS_OPT_HEADERS))
        return;
    if (!SvROK(value) || SvTYPE(SvRV(value)) != SVt_PVHV)
        croak("%s: headers must be a hash reference (got '%s')", o->method,
              SvPV_nolen(ws_shown(aTHX_ value)));
    ws_headers_from_hash(aTHX_ o->method, (HV *)SvRV(value), out);
}
