/* Perl's values as the C code takes and makes them: strings, arrays, hashes.
 *
 * Reading a value can run Perl code (tie, overloading). Whoever reads several
 * reads mortal copies, so that no such code can take away what was read.
 */
#include "websockets.h"

/* Before Perl 5.14 pv_escape knows no other way. */
#ifndef PERL_PV_ESCAPE_NONASCII
#  define PERL_PV_ESCAPE_NONASCII 0
#endif

/* ---- objects with overloading ---- */

/* Whether it is an object with a method for a conversion; "(0+", for example. */
bool ws_overloads(pTHX_ SV *value, const char *method)
{
    return SvROK(value) && SvAMAGIC(value) && gv_fetchmeth(SvSTASH(SvRV(value)), method, (I32)strlen(method), 0);
}

/* Whether it is an object that perl asks for its text. That of all others is their class and their address. */
bool ws_has_text(pTHX_ SV *value)
{
    return ws_overloads(aTHX_ value, "(\"\"") || ws_overloads(aTHX_ value, "(0+") || ws_overloads(aTHX_ value, "(bool")
        || ws_overloads(aTHX_ value, "(nomethod");
}

/* ---- messages ---- */

/* A value as an error message shows it: short, and on one line. Lives as long as the call. */
const char *ws_shown(pTHX_ SV *value)
{
    STRLEN length;
    const char *text;

    if (!SvOK(value))
        return "undef";
    /* Perl refuses to say what an object is that overloads something else. */
    if (SvROK(value) && SvAMAGIC(value) && !ws_has_text(aTHX_ value))
        value = sv_2mortal(newSVpvf("%s=%s(0x%" UVxf ")", sv_reftype(SvRV(value), TRUE), sv_reftype(SvRV(value), FALSE),
                                    PTR2UV(SvRV(value))));
    text = SvPV(value, length);
    return pv_escape(sv_newmortal(), text, length, 60, NULL, PERL_PV_ESCAPE_NONASCII);
}

void ws_must_be(pTHX_ const char *what, const char *name, const char *expected, SV *value)
{
    croak("%s: %s must be %s (got '%s')", what, name, expected, ws_shown(aTHX_ value));
}

/* ---- what a value is ---- */

/* NULL for a reference without such a text: it is neither text nor number. */
SV *ws_plain_scalar(pTHX_ SV *value)
{
    STRLEN length;
    const char *text;

    if (!SvROK(value))
        return value;
    if (!ws_has_text(aTHX_ value))
        return NULL;
    text = SvPV(value, length);
    return newSVpvn_flags(text, length, SVs_TEMP | SvUTF8(value));
}

/* A value as ws_plain_scalar takes it, and NULL for undef. */
SV *ws_plain_string(pTHX_ SV *value)
{
    SV *plain = ws_plain_scalar(aTHX_ value);

    return plain && SvOK(plain) ? plain : NULL;
}

/* The number that a value says; -1: it says none. looks_like_number comes first because SvNV of
 * other text warns, in words that do not name the option. */
NV ws_number(pTHX_ SV *value)
{
    SV *plain = ws_plain_scalar(aTHX_ value);

    return plain && looks_like_number(plain) ? SvNV(plain) : -1;
}

/* The array that a value refers to, or NULL. */
AV *ws_array(SV *value)
{
    return SvROK(value) && SvTYPE(SvRV(value)) == SVt_PVAV ? (AV *)SvRV(value) : NULL;
}

/* The hash that a value refers to, or NULL. */
HV *ws_hash(SV *value)
{
    return SvROK(value) && SvTYPE(SvRV(value)) == SVt_PVHV ? (HV *)SvRV(value) : NULL;
}

/* An array that is no object which is to be taken for the text it says it is; or NULL. */
AV *ws_plain_array(pTHX_ SV *value)
{
    return ws_overloads(aTHX_ value, "(\"\"") ? NULL : ws_array(value);
}

/* ---- reading ---- */

/* The bytes of a string, borrowed from it. */
evws_bytes ws_bytes(pTHX_ SV *value)
{
    evws_bytes bytes;
    STRLEN length;

    bytes.data = (const uint8_t *)SvPV(value, length);
    bytes.length = length;
    return bytes;
}

bool ws_bytes_are(evws_bytes bytes, const char *word)
{
    return bytes.length == strlen(word) && memEQ(bytes.data, word, bytes.length);
}

/* A mortal copy of an element. */
SV *ws_element(pTHX_ AV *array, SSize_t index)
{
    SV **slot = av_fetch(array, index, 0);

    return slot ? sv_mortalcopy(*slot) : sv_newmortal();
}

/* A mortal copy of what a hash has under a name; NULL: nothing, or undef. */
SV *ws_entry(pTHX_ HV *hash, const char *name)
{
    SV **slot = hv_fetch(hash, name, (I32)strlen(name), 0);
    SV *value = slot ? sv_mortalcopy(*slot) : NULL;

    return value && SvOK(value) ? value : NULL;
}

/* Writes mortal copies of the next name and value, after hv_iterinit. FALSE: there are no more. */
bool ws_next_entry(pTHX_ HV *hash, SV **name, SV **value)
{
    HE *entry = hv_iternext(hash);

    if (!entry)
        return FALSE;
    *name = sv_mortalcopy(hv_iterkeysv(entry));
    *value = sv_mortalcopy(hv_iterval(hash, entry));
    return TRUE;
}

/* ---- making ---- */

/* A text of the library; undef: it is empty. */
SV *ws_text_sv(pTHX_ evws_bytes text)
{
    return text.length ? newSVpvn((const char *)text.data, text.length) : newSV(0);
}

/* A count of 64 bits is more than a UV may hold, and never more than it is worth knowing to 53 bits. */
SV *ws_count_sv(pTHX_ uint64_t count)
{
    return count <= UV_MAX ? newSVuv((UV)count) : newSVnv((NV)count);
}

/* What a peer has sent: tainted under -T, as what perl's own sockets read. */
SV *ws_peer_sv(pTHX_ evws_bytes bytes)
{
    SV *sv = newSVpvn(WS_TEXT(bytes), bytes.length);

    SvTAINTED_on(sv);
    return sv;
}

/* Puts what a method returns onto the stack: copies of a list, or in scalar context how many there are. */
void ws_return_list(pTHX_ AV *list)
{
    dSP;
    SSize_t i;

    if (GIMME_V == G_SCALAR) {
        mXPUSHi(av_len(list) + 1);
    } else {
        EXTEND(SP, av_len(list) + 1);
        for (i = 0; i <= av_len(list); i++)
            PUSHs(sv_mortalcopy(*av_fetch(list, i, 0)));
    }
    PUTBACK;
}

/* ---- calls into Perl: these may die ---- */

/* With G_SCALAR what is returned, as a mortal copy; with G_VOID NULL. A stack of its own keeps `last` and `next` in the
 * code from leaving a loop of the program around the call: what follows that loop would run in here. */
SV *ws_call(pTHX_ SV *code, SV **arg, int args, I32 flags)
{
    const bool is_void = cBOOL(flags & G_VOID);
    SV *returned = NULL;
    dSP;
    int i;

    PUSHSTACKi(PERLSI_UNKNOWN);
    PUSHMARK(SP);
    EXTEND(SP, args);
    for (i = 0; i < args; i++)
        PUSHs(arg[i]);
    PUTBACK;
    call_sv(code, is_void ? flags | G_DISCARD : flags);
    if (!is_void) {
        SPAGAIN;
        returned = sv_mortalcopy(POPs);
        PUTBACK;
    }
    POPSTACK;
    return returned;
}

/* Whether the code under an eval has died. */
bool ws_died(pTHX)
{
    return SvROK(ERRSV) || (SvPOK(ERRSV) && SvCUR(ERRSV));
}

/* One of the functions in lib/EV/Websockets.pm and lib/EV/Websockets/Options.pm. */
SV *ws_call_helper(pTHX_ const char *name, SV **arg, int args)
{
    return ws_call(aTHX_ (SV *)get_cv(name, GV_ADD), arg, args, G_SCALAR);
}
