/* The option deflate: permessage-deflate (RFC 7692), as a flag or as a hash of
 * options.
 *
 * Ranges are checked here, where the name of the method and the value as the
 * program wrote it are known; the engine checks them again for other callers.
 */
#include "websockets.h"

/* Both by measuring (docs/performance.md). A JSON message of 256 bytes that stands for itself loses four in ten, a
 * shorter one so little that the packet's headers decide. */
#define DEFAULT_THRESHOLD 256
/* Level 1 of zlib-rs has fixed codes only, with which noise grows; beyond 2 a few percent cost much time. */
#define DEFAULT_LEVEL 2

typedef enum {
    KEY_SERVER_NO_CONTEXT_TAKEOVER, KEY_CLIENT_NO_CONTEXT_TAKEOVER, KEY_SERVER_MAX_WINDOW_BITS,
    KEY_CLIENT_MAX_WINDOW_BITS, KEY_THRESHOLD, KEY_LEVEL, KEY_MEMORY, KEY_COUNT
} deflate_key;

typedef struct {
    const char *name;
    uint64_t least, most;                   /* both 0: true or false */
} deflate_key_spec;

/* Indexed by deflate_key. 2**53: every whole number up to it is one a NV can hold. */
#define ANY_SIZE (UINT64_C(1) << 53)
static const deflate_key_spec key_specs[KEY_COUNT] = {
    { "server_no_context_takeover", 0, 0 },
    { "client_no_context_takeover", 0, 0 },
    { "server_max_window_bits", 9, 15 },
    { "client_max_window_bits", 9, 15 },
    { "threshold", 0, ANY_SIZE },
    { "level", 1, 9 },
    { "memory", 0, ANY_SIZE },
};

static void croak_range(pTHX_ const char *where, const deflate_key_spec *spec, SV *value)
{
    const char *shown = SvPV_nolen(ws_shown(aTHX_ value));

    if (spec->most == ANY_SIZE)
        croak("%s: %s must be a whole number of bytes, not '%s'", where, spec->name, shown);
    croak("%s: %s must be %d to %d, not '%s'", where, spec->name, (int)spec->least, (int)spec->most, shown);
}

static uint64_t number(pTHX_ const char *where, const deflate_key_spec *spec, SV *value)
{
    SV *plain = ws_plain_scalar(aTHX_ value);
    NV found = -1;

    if (plain && looks_like_number(plain))
        found = SvNV(plain);
    /* The other way round it would let NaN pass. */
    if (!(found >= (NV)spec->least && found <= (NV)spec->most && found == Perl_floor(found)))
        croak_range(aTHX_ where, spec, value);
    return (uint64_t)found;
}

static void set(pTHX_ const char *where, deflate_key key, SV *value, evws_deflate_options *out)
{
    const deflate_key_spec *spec = &key_specs[key];
    bool is_true = !spec->most && SvTRUE(value);
    uint64_t count = spec->most ? number(aTHX_ where, spec, value) : 0;

    switch (key) {
    case KEY_SERVER_NO_CONTEXT_TAKEOVER: out->server_no_context_takeover = is_true; break;
    case KEY_CLIENT_NO_CONTEXT_TAKEOVER: out->client_no_context_takeover = is_true; break;
    case KEY_SERVER_MAX_WINDOW_BITS: out->server_max_window_bits = (uint8_t)count; break;
    case KEY_CLIENT_MAX_WINDOW_BITS: out->client_max_window_bits = (uint8_t)count; break;
    case KEY_THRESHOLD: out->threshold = count; break;
    case KEY_LEVEL:     out->level = (uint8_t)count; break;
    case KEY_MEMORY:    out->memory = count; break;
    case KEY_COUNT:     break;
    }
}

static void set_entry(pTHX_ const char *where, SV *name, SV *value, evws_deflate_options *out)
{
    STRLEN length;
    const char *text = SvPV(name, length);
    ws_unknown unknown;
    int i;

    for (i = 0; i < KEY_COUNT; i++) {
        if (length != strlen(key_specs[i].name) || !memEQ(text, key_specs[i].name, length))
            continue;
        if (SvOK(value))
            set(aTHX_ where, (deflate_key)i, value, out);
        return;
    }
    ws_unknown_begin(aTHX_ &unknown, where, name);
    for (i = 0; i < KEY_COUNT; i++)
        ws_unknown_compare(&unknown, key_specs[i].name);
    ws_unknown_croak(aTHX_ &unknown);
}

static void set_from_hash(pTHX_ const char *where, HV *hash, evws_deflate_options *out)
{
    HE *entry;

    hv_iterinit(hash);
    while ((entry = hv_iternext(hash))) {
        SV *name = sv_mortalcopy(hv_iterkeysv(entry));

        set_entry(aTHX_ where, name, sv_mortalcopy(hv_iterval(hash, entry)), out);
    }
}

/* A server keeps no context between messages unless it is told to: what a
 * connection costs it is then decided by it, and not by its clients. */
static void defaults(evws_deflate_options *out, bool is_server)
{
    Zero(out, 1, evws_deflate_options);
    out->enabled = TRUE;
    out->server_no_context_takeover = is_server;
    out->client_no_context_takeover = is_server;
    out->threshold = DEFAULT_THRESHOLD;
    out->level = DEFAULT_LEVEL;
}

/* otherwise: whether it is on when the option is not given. */
void ws_option_deflate(pTHX_ const ws_options *o, bool otherwise, bool is_server, evws_deflate_options *out)
{
    SV *value = o->value[WS_OPT_DEFLATE];
    const char *where = SvPV_nolen(sv_2mortal(newSVpvf("%s: deflate", o->method)));

    defaults(out, is_server);
    if (!ws_option_given(aTHX_ o, WS_OPT_DEFLATE))
        out->enabled = otherwise;
    else if (SvROK(value) && SvTYPE(SvRV(value)) == SVt_PVHV)
        set_from_hash(aTHX_ where, (HV *)SvRV(value), out);
    else if (SvROK(value) && !SvAMAGIC(value))
        croak("%s must be true, false or a hash reference (got '%s')", where, SvPV_nolen(ws_shown(aTHX_ value)));
    else
        out->enabled = cBOOL(SvTRUE(value));
}
