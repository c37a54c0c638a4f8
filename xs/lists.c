/* Lists of C structures for the engine, of Perl's strings, arrays and hashes. Each is in the string buffer of a
 * mortal, so that a croak half way frees it. `what` and `name` are the method and the option, for messages.
 */
#include "websockets.h"

SV *ws_list(pTHX)
{
    return sv_2mortal(newSVpvs(""));
}

/* The strings of an array; regular expressions go to `patterns`, if that is not NULL. */
static void add_elements(pTHX_ SV *list, const char *what, const char *name, AV *array, AV *patterns)
{
    SSize_t i;

    for (i = 0; i <= av_len(array); i++) {
        SV *element = ws_element(aTHX_ array, i);
        SV *plain;
        evws_bytes text;

        if (patterns && SvROK(element) && SvRXOK(element)) {
            av_push(patterns, newSVsv(element));
            continue;
        }
        plain = ws_plain_string(aTHX_ element);
        if (!plain)
            croak("%s: %s number %" IVdf " must be a string", what, name, (IV)i + 1);
        text = ws_bytes(aTHX_ plain);
        WS_LIST_ADD(list, text);
    }
}

/* A list of evws_bytes: names separated by commas, or in an array. */
SV *ws_names(pTHX_ const char *what, const char *name, SV *value)
{
    SV *list = ws_list(aTHX);
    AV *array = ws_plain_array(aTHX_ value);
    SV *plain = array ? NULL : ws_plain_scalar(aTHX_ value);

    if (plain)
        array = ws_array(ws_call_helper(aTHX_ "EV::Websockets::Options::names_of", &plain, 1));
    if (!array)
        ws_must_be(aTHX_ what, name, "a string", value);
    add_elements(aTHX_ list, what, name, array, NULL);
    return list;
}

/* The strings of an array, undef being an empty one: of an option that says which requests are accepted. */
SV *ws_entries(pTHX_ const char *what, const char *name, SV *value, AV *patterns)
{
    SV *list = ws_list(aTHX);
    AV *array = ws_array(value);

    if (!array)
        ws_must_be(aTHX_ what, name, "an array reference", value);
    add_elements(aTHX_ list, what, name, array, patterns);
    return list;
}

static void add_header(pTHX_ SV *list, const char *what, SV *name, SV *value)
{
    SV *plain = ws_plain_string(aTHX_ value);
    evws_header header;

    if (!plain)
        croak("%s: header '%s' must be a defined string or an array reference of such", what, ws_shown(aTHX_ name));
    header.name = ws_bytes(aTHX_ name);
    header.value = ws_bytes(aTHX_ plain);
    WS_LIST_ADD(list, header);
}

/* A list of evws_header. */
SV *ws_headers_of_hash(pTHX_ const char *what, HV *hash)
{
    SV *list = ws_list(aTHX);
    SV *name, *value;
    AV *values;
    SSize_t i;

    hv_iterinit(hash);
    while (ws_next_entry(aTHX_ hash, &name, &value)) {
        values = ws_plain_array(aTHX_ value);
        if (!values)
            add_header(aTHX_ list, what, name, value);
        for (i = 0; values && i <= av_len(values); i++)
            add_header(aTHX_ list, what, name, ws_element(aTHX_ values, i));
    }
    return list;
}
