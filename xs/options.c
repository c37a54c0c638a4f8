/* The options of methods: types and croaks.
 * The table of them is in options.h.
 *
 * Every value is copied to a mortal first. That runs whatever Perl code hides
 * behind it (tie, overloading) before anything is decided, keeps strings alive
 * until the XSUB returns, and leaves nothing to free when a check croaks.
 */
#include "websockets.h"

/* How a value is read; `least` and `most` are for numbers. */
typedef enum { BY_CODE, FLAG, SECONDS, BYTES, WHOLE_BYTES, COUNT, CHECKED, WORD, RATE, STRING, NAMES, HEADERS } option_kind;

#define MAX_WORDS 4

#define AS_FLAG(otherwise)               { FLAG, otherwise, 0, 0, { NULL } }
#define AS_SECONDS(otherwise)            { SECONDS, otherwise, 0, NV_MAX, { NULL } }
#define AS_BYTES(otherwise)              { BYTES, otherwise, 0, NV_MAX, { NULL } }
#define AS_COUNT(otherwise, least, most) { COUNT, otherwise, least, most, { NULL } }
/* 2**53: every whole number up to it is one a NV can hold. */
#define AS_WHOLE_BYTES(otherwise)        { WHOLE_BYTES, otherwise, 0, 9007199254740992.0, { NULL } }
#define AS_CHECKED(otherwise)            { CHECKED, otherwise, 1, 254, { NULL } }
#define AS_WORD(otherwise, ...)          { WORD, otherwise, 0, 0, { __VA_ARGS__ } }
#define AS_RATE                          { RATE, 0, 0, 0, { NULL } }
#define AS_STRING                        { STRING, 0, 0, 0, { NULL } }
#define AS_NAMES                         { NAMES, 0, 0, 0, { NULL } }
#define AS_HEADERS                       { HEADERS, 0, 0, 0, { NULL } }
#define AS_IS                            { BY_CODE, 0, 0, 0, { NULL } }

#define IN(structure, field) \
    { WS_IN_##structure, STRUCT_OFFSET(evws_##structure, field), sizeof(((evws_##structure *)0)->field) }
#define NOWHERE { WS_IN_NONE, 0, 0 }

#define OPTION_SPEC(id, name, methods, value, place) { name, sizeof name - 1, methods, value, place },
static const struct {
    const char *name;
    STRLEN length;
    U32 methods;                /* bits of WS_FOR_*, and what else is said of it there */
    struct {
        option_kind kind;
        NV otherwise, least, most;
        const char *word[MAX_WORDS];
    } value;
    struct {
        ws_structure structure;
        size_t offset, size;
    } place;
} specs[WS_OPT_COUNT] = { WS_OPTIONS(OPTION_SPEC) };

const char *ws_option_name(ws_option which)
{
    return specs[which].name;
}

/* ---- names ---- */

static const char *method_name(U32 method)
{
    static const char *const names[] = { "new", "connect", "listen", "adopt", "shutdown", "deflate", "prepare", "broadcast",
                                         "publish", "subscribe", "topic" };
    int i;

    for (i = 0; method >> (i + 1); i++)
        ;
    return names[i];
}

/* The methods, other than `method`, that know an option: "connect, listen and adopt". Mortal. */
static SV *owners(pTHX_ int option, U32 method)
{
    const U32 methods = specs[option].methods & ~(method | WS_FOR_SHUTDOWN | WS_FOR_DEFLATE);
    SV *text = sv_2mortal(newSVpvs(""));
    U32 one, later;

    for (one = WS_FOR_NEW; one <= WS_FOR_TOPIC; one *= 2) {
        if (!(methods & one))
            continue;
        later = methods & (2 * WS_FOR_TOPIC - 1) & ~(2 * one - 1);
        sv_catpvf(text, "%s%s", !SvCUR(text) ? "" : later ? ", " : " and ", method_name(one));
    }
    return SvCUR(text) ? text : &PL_sv_undef;
}

/* Not known to `method`. Warns, or croaks where that would leave a door open. */
static void unknown_option(pTHX_ const ws_options *o, U32 method, SV *name)
{
    STRLEN length;
    const char *text = SvPV(name, length);
    SV *elsewhere = &PL_sv_undef;
    AV *known = (AV *)sv_2mortal((SV *)newAV());
    SV *arg[5];
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++) {
        if (specs[i].methods & method)
            av_push(known, newSVpvn(specs[i].name, specs[i].length));
        else if (method != WS_FOR_DEFLATE && length == specs[i].length && memEQ(text, specs[i].name, length))
            elsewhere = owners(aTHX_ i, method);
    }
    arg[0] = sv_2mortal(newSVpv(o->method, 0));
    arg[1] = sv_2mortal(newSVpvn(text, length));
    arg[2] = sv_2mortal(newSVpv(ws_shown(aTHX_ name), 0));
    arg[3] = sv_2mortal(newRV_inc((SV *)known));
    arg[4] = elsewhere;
    (void)ws_call_helper(aTHX_ "EV::Websockets::Options::unknown", arg, 5);
}

static void store_option(pTHX_ ws_options *o, U32 method, SV *name, SV *value)
{
    const char *text;
    STRLEN length;
    int i;

    if (!SvOK(name))
        croak("%s: the name of an option is undefined", o->method);
    text = SvPV(name, length);
    for (i = 0; i < WS_OPT_COUNT; i++)
        if ((specs[i].methods & method) && length == specs[i].length && memEQ(text, specs[i].name, length)) {
            o->value[i] = sv_mortalcopy(value);
            return;
        }
    unknown_option(aTHX_ o, method, name);
}

/* Text that is not UTF-8 cannot be decoded. The flag is read again when no Perl code may run any more. */
static void settle_utf8(pTHX_ ws_options *o)
{
    const bool utf8 = ws_option_flag(aTHX_ o, WS_OPT_UTF8);

    if (ws_option_given(aTHX_ o, WS_OPT_UTF8))
        o->value[WS_OPT_UTF8] = boolSV(utf8);
    if (utf8 && !ws_option_flag(aTHX_ o, WS_OPT_VALIDATE_UTF8))
        croak("%s: utf8 is for text that is UTF-8, and validate_utf8 is false", o->method);
}

#define PUBLIC_LIMIT(id, methods, value, burst) { WS_OPT_##id, methods, value, burst },
static const struct {
    ws_option which;
    U32 methods;
    NV value, burst;
} public_limits[] = { WS_PUBLIC_LIMITS(PUBLIC_LIMIT) };

static SV *public_value(pTHX_ NV value, NV burst)
{
    AV *pair;

    if (burst == 0)
        return sv_2mortal(newSVnv(value));
    pair = newAV();
    av_push(pair, newSVnv(value));
    av_push(pair, newSVnv(burst));
    return sv_2mortal(newRV_noinc((SV *)pair));
}

/* What is given counts, also if it is 0. */
static void settle_limits(pTHX_ ws_options *o, U32 method)
{
    size_t i;

    if (!ws_option_given(aTHX_ o, WS_OPT_LIMITS))
        return;
    (void)ws_option_word(aTHX_ o, WS_OPT_LIMITS);
    for (i = 0; i < sizeof public_limits / sizeof *public_limits; i++)
        if ((public_limits[i].methods & method) && !ws_option_given(aTHX_ o, public_limits[i].which))
            o->value[public_limits[i].which] = public_value(aTHX_ public_limits[i].value, public_limits[i].burst);
}

static void refuse_undef(pTHX_ const ws_options *o, U32 marks)
{
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++)
        if ((specs[i].methods & marks) && o->value[i] && !SvOK(o->value[i]))
            croak("%s: option '%s' must be a defined string", o->method, specs[i].name);
}

/* `args` are the arguments after the invocant. They are copied before the
 * first is looked at: what Perl code behind a value does to @_ or to the
 * argument stack is then of no consequence. */
void ws_options_parse(pTHX_ ws_options *o, U32 method, SV **args, I32 count)
{
    AV *pairs;
    I32 i;

    Zero(o, 1, ws_options);
    o->method = method_name(method);
    if (!count)
        return;
    pairs = (AV *)sv_2mortal((SV *)av_make(count, args));
    if (count % 2)
        croak("odd number of options: key '%s' has no value", ws_shown(aTHX_ *av_fetch(pairs, count - 1, 0)));
    for (i = 0; i < count; i += 2)
        store_option(aTHX_ o, method, *av_fetch(pairs, i, 0), *av_fetch(pairs, i + 1, 0));
    settle_utf8(aTHX_ o);
    settle_limits(aTHX_ o, method);
    refuse_undef(aTHX_ o, method == WS_FOR_LISTEN ? WS_NO_UNDEF | WS_NEVER_UNDEF : WS_NEVER_UNDEF);
}

/* The options in the hash of another one of `outer`, which gets their values, too, for the engine's errors; `what` names it
 * in messages. */
void ws_options_of_hash(pTHX_ ws_options *o, const char *what, U32 method, HV *hash, ws_options *outer)
{
    SV *name, *value;
    int i;

    Zero(o, 1, ws_options);
    o->method = what;
    hv_iterinit(hash);
    while (ws_next_entry(aTHX_ hash, &name, &value))
        store_option(aTHX_ o, method, name, value);
    for (i = 0; i < WS_OPT_COUNT; i++)
        if (o->value[i])
            outer->value[i] = o->value[i];
}

/* An option given as undef counts as not given, except where listen says
 * otherwise: `ssl_verify => undef` must not turn verification off. */
bool ws_option_given(pTHX_ const ws_options *o, ws_option which)
{
    PERL_UNUSED_CONTEXT;
    return o->value[which] && SvOK(o->value[which]);
}

/* What was said to new() for all connections stands in for what is not said to connect(). */
void ws_options_inherit(pTHX_ ws_options *o, HV *settings)
{
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++)
        if ((specs[i].methods & WS_FOR_TLS) == WS_FOR_TLS && !ws_option_given(aTHX_ o, (ws_option)i))
            o->value[i] = ws_entry(aTHX_ settings, specs[i].name);
}

/* The name of an option that is given, and has this mark in the table; or NULL. */
const char *ws_option_with(pTHX_ const ws_options *o, U32 mark)
{
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++)
        if ((specs[i].methods & mark) && ws_option_given(aTHX_ o, (ws_option)i))
            return specs[i].name;
    return NULL;
}

void ws_option_must_be(pTHX_ const ws_options *o, ws_option which, const char *expected)
{
    ws_must_be(aTHX_ o->method, specs[which].name, expected, o->value[which]);
}

/* ---- strings, numbers, flags ---- */

bool ws_option_flag(pTHX_ const ws_options *o, ws_option which)
{
    return ws_option_given(aTHX_ o, which) ? cBOOL(SvTRUE(o->value[which])) : specs[which].value.otherwise != 0;
}

/* In the range of its row; of one that the engine checks: or 255, which it refuses. */
NV ws_option_number(pTHX_ const ws_options *o, ws_option which)
{
    const option_kind kind = specs[which].value.kind;
    const NV least = specs[which].value.least, most = specs[which].value.most;
    const bool is_whole = kind == WHOLE_BYTES || kind == COUNT || kind == CHECKED;
    NV number;

    if (!ws_option_given(aTHX_ o, which))
        return specs[which].value.otherwise;
    number = ws_number(aTHX_ o->value[which]);
    if (number >= least && number <= most && (!is_whole || number == Perl_floor(number)))
        return number;
    if (kind == CHECKED)
        return 255;
    if (kind == WHOLE_BYTES)
        croak("%s: %s must be a whole number of bytes, not '%s'", o->method, specs[which].name,
              ws_shown(aTHX_ o->value[which]));
    if (kind == COUNT) {
        SV *what = sv_2mortal(newSVpvf("a whole number from %.0" NVff " to %.0" NVff, least, most));

        ws_option_must_be(aTHX_ o, which, SvPV_nolen(what));
    }
    ws_option_must_be(aTHX_ o, which, "a non-negative number");
}

static void store_count(NV number, void *field, size_t size)
{
    switch (size) {
    case 1:  *(uint8_t *)field = (uint8_t)number;   break;
    case 2:  *(uint16_t *)field = (uint16_t)number; break;
    case 4:  *(uint32_t *)field = (uint32_t)number; break;
    default: *(uint64_t *)field = (uint64_t)number; break;
    }
}

/* Rounded up: a limit of half a byte is a limit, and 0 would mean none. */
static uint64_t bytes(pTHX_ const ws_options *o, ws_option which)
{
    NV size = Perl_ceil(ws_option_number(aTHX_ o, which));

    return size >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)size;
}

/* The words of its row as a sentence has them: 'a', 'b' or 'c'. */
static const char *words(pTHX_ ws_option which)
{
    const char *const *word = specs[which].value.word;
    SV *text = sv_2mortal(newSVpvs(""));
    int i;

    for (i = 0; i < MAX_WORDS && word[i]; i++)
        sv_catpvf(text, "%s'%s'", !i ? "" : i + 1 < MAX_WORDS && word[i + 1] ? ", " : " or ", word[i]);
    return SvPV_nolen(text);
}

/* The place of the word in its row. */
U32 ws_option_word(pTHX_ const ws_options *o, ws_option which)
{
    const char *const *word = specs[which].value.word;
    evws_bytes given = ws_option_string(aTHX_ o, which);
    U32 i;

    if (!given.data)
        return (U32)specs[which].value.otherwise;
    for (i = 0; i < MAX_WORDS && word[i]; i++)
        if (ws_bytes_are(given, word[i]))
            return i;
    ws_option_must_be(aTHX_ o, which, words(aTHX_ which));
}

/* A rate as it was given: [RATE, BURST], with what there is beyond. Mortal. */
static SV *shown_rate(pTHX_ SV *value)
{
    AV *array = ws_array(value);
    SV *text;
    SSize_t i;

    if (!array)
        return value;
    text = sv_2mortal(newSVpvs("["));
    for (i = 0; i <= av_len(array) && i < 3; i++)
        sv_catpvf(text, "%s%s", i ? ", " : "", ws_shown(aTHX_ ws_element(aTHX_ array, i)));
    sv_catpv(text, i <= av_len(array) ? ", ...]" : "]");
    return text;
}

static void rate(pTHX_ const ws_options *o, ws_option which, double *pair)
{
    AV *array;
    int i;

    pair[0] = pair[1] = 0;
    if (!ws_option_given(aTHX_ o, which))
        return;
    array = ws_array(o->value[which]);
    if (!array && (pair[0] = pair[1] = ws_number(aTHX_ o->value[which])) == 0)
        return;
    for (i = 0; array && i < 2; i++)
        pair[i] = ws_number(aTHX_ ws_element(aTHX_ array, i));
    if ((array && av_len(array) != 1) || !(pair[0] > 0 && pair[0] <= NV_MAX && pair[1] > 0 && pair[1] <= NV_MAX))
        ws_must_be(aTHX_ o->method, specs[which].name, "a number above 0, or [rate, burst], two of them, or 0",
                   shown_rate(aTHX_ o->value[which]));
}

/* `data` is NULL if it is not given, and only then. */
evws_bytes ws_option_string(pTHX_ const ws_options *o, ws_option which)
{
    SV *plain;

    if (!ws_option_given(aTHX_ o, which))
        return WS_NO_BYTES;
    plain = ws_plain_scalar(aTHX_ o->value[which]);
    if (!plain)
        ws_option_must_be(aTHX_ o, which, "a string");
    return ws_bytes(aTHX_ plain);
}

/* An option with bytes that a peer has sent: characters beyond 255 never were bytes. */
evws_bytes ws_option_octets(pTHX_ const ws_options *o, ws_option which)
{
    SV *plain = ws_option_given(aTHX_ o, which) ? ws_plain_scalar(aTHX_ o->value[which]) : NULL;

    if (plain && !sv_utf8_downgrade(plain, TRUE))
        croak("%s: %s must be bytes, and has characters beyond 255", o->method, specs[which].name);
    return plain ? ws_bytes(aTHX_ plain) : ws_option_string(aTHX_ o, which);
}

/* NULL: not given. */
HV *ws_option_hash(pTHX_ const ws_options *o, ws_option which)
{
    HV *hash;

    if (!ws_option_given(aTHX_ o, which))
        return NULL;
    hash = ws_hash(o->value[which]);
    if (!hash)
        ws_option_must_be(aTHX_ o, which, "a hash reference");
    return hash;
}

/* The options given, by name, for a context to keep. Mortal. */
HV *ws_options_settings(pTHX_ const ws_options *o)
{
    HV *settings = (HV *)sv_2mortal((SV *)newHV());
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++)
        if (ws_option_given(aTHX_ o, (ws_option)i))
            (void)hv_store(settings, specs[i].name, (I32)specs[i].length, newSVsv(o->value[i]), 0);
    return settings;
}

/* 0, 'optional' or 1, as 0, 1 and 2: the values of EVWS_VERIFY_CLIENT_* and EVWS_PROXY_HEAD_*. */
U32 ws_option_optional(pTHX_ const ws_options *o, ws_option which)
{
    SV *value = o->value[which];
    SV *plain = value ? ws_plain_string(aTHX_ value) : NULL;
    NV number = -1;

    if (!value)
        return 0;
    /* Perl's own false is an empty string, and a number as well. */
    if (plain)
        number = SvIOK(plain) ? SvNV(plain) : ws_number(aTHX_ plain);
    if (number == 0 || number == 1)
        return number ? 2 : 0;
    if (plain && ws_bytes_are(ws_bytes(aTHX_ plain), "optional"))
        return 1;
    ws_option_must_be(aTHX_ o, which, "0, 1 or 'optional'");
}

/* ---- callbacks ---- */

/* What call_sv is to get, borrowed from the options: the CV itself where there
 * is one, which saves a dereference on every call. NULL: not given. */
SV *ws_option_code(pTHX_ const ws_options *o, ws_option which)
{
    SV *value = o->value[which];

    if (!ws_option_given(aTHX_ o, which))
        return NULL;
    if (SvROK(value) && SvTYPE(SvRV(value)) == SVt_PVCV)
        return SvRV(value);
    if (!ws_overloads(aTHX_ value, "(&{}"))
        ws_option_must_be(aTHX_ o, which, "a code reference");
    return value;
}

/* Croaks if a callback is none. What nobody listens to need not be reported. */
U32 ws_options_wants(pTHX_ const ws_options *o)
{
    int i;

    for (i = 0; i < WS_CALLBACK_COUNT; i++)
        (void)ws_option_code(aTHX_ o, (ws_option)(WS_OPT_ON_CONNECT + i));
    return (ws_option_given(aTHX_ o, WS_OPT_ON_MESSAGE) ? EVWS_WANT_MESSAGE : 0)
         | (ws_option_given(aTHX_ o, WS_OPT_ON_PONG) ? EVWS_WANT_PONG : 0)
         | (ws_option_given(aTHX_ o, WS_OPT_ON_DRAIN) ? EVWS_WANT_DRAIN : 0)
         | (ws_option_given(aTHX_ o, WS_OPT_ON_LIMIT) ? EVWS_WANT_LIMIT : 0)
         | (ws_option_given(aTHX_ o, WS_OPT_ON_DROP) ? EVWS_WANT_DROPPED : 0)
         | (ws_option_given(aTHX_ o, WS_OPT_ON_REJECT) ? EVWS_WANT_REJECT : 0);
}

/* A new set, of callbacks that ws_options_wants has seen. `origins` are patterns, or NULL. */
ws_callbacks *ws_options_callbacks(pTHX_ const ws_options *o, AV *origins)
{
    ws_callbacks *callbacks;
    int i;

    Newxz(callbacks, 1, ws_callbacks);
    callbacks->refs = 1;
    callbacks->origins = (AV *)SvREFCNT_inc((SV *)origins);
    callbacks->utf8 = ws_option_flag(aTHX_ o, WS_OPT_UTF8);
    for (i = 0; i < WS_CALLBACK_COUNT; i++)
        callbacks->on[i] = SvREFCNT_inc(ws_option_code(aTHX_ o, (ws_option)(WS_OPT_ON_CONNECT + i)));
    return callbacks;
}

/* ---- lists ---- */

SV *ws_option_names(pTHX_ const ws_options *o, ws_option which)
{
    return ws_option_given(aTHX_ o, which) ? ws_names(aTHX_ o->method, specs[which].name, o->value[which]) : ws_list(aTHX);
}

SV *ws_option_entries(pTHX_ const ws_options *o, ws_option which, AV *patterns)
{
    return ws_entries(aTHX_ o->method, specs[which].name, o->value[which], patterns);
}

static SV *headers(pTHX_ const ws_options *o, ws_option which)
{
    HV *hash = ws_option_hash(aTHX_ o, which);

    return hash ? ws_headers_of_hash(aTHX_ o->method, hash) : ws_list(aTHX);
}

/* ---- the engine's structures ---- */

static void read_option(pTHX_ const ws_options *o, ws_option which, void *field)
{
    switch (specs[which].value.kind) {
    case FLAG:    *(bool *)field = ws_option_flag(aTHX_ o, which);                                          break;
    case SECONDS: *(double *)field = ws_option_number(aTHX_ o, which);                                      break;
    case BYTES:   *(uint64_t *)field = bytes(aTHX_ o, which);                                               break;
    case WHOLE_BYTES:
    case COUNT:
    case CHECKED: store_count(ws_option_number(aTHX_ o, which), field, specs[which].place.size);            break;
    case WORD:    *(uint32_t *)field = ws_option_word(aTHX_ o, which);                                      break;
    case RATE:    rate(aTHX_ o, which, (double *)field);                                                    break;
    case STRING:  *(evws_bytes *)field = ws_option_string(aTHX_ o, which);                                  break;
    case NAMES:   WS_LIST_GIVE(ws_option_names(aTHX_ o, which), *(evws_strings *)field);                    break;
    case HEADERS: WS_LIST_GIVE(headers(aTHX_ o, which), *(evws_headers *)field);                            break;
    case BY_CODE: break;
    }
}

/* Every option that lands in this structure, in the order of the table. */
void ws_options_read(pTHX_ const ws_options *o, ws_structure structure, void *out)
{
    int i;

    for (i = 0; i < WS_OPT_COUNT; i++)
        if (specs[i].place.structure == structure)
            read_option(aTHX_ o, (ws_option)i, (char *)out + specs[i].place.offset);
}
