/* Options that are not known: which name was meant, and whether it croaks.
 *
 * A name that is mistyped is an option that is not set. Where that would leave
 * a door open it croaks; elsewhere it warns, as 0.10 took any name in silence.
 */
#include "websockets.h"

#define LONGEST 40                              /* bytes of a name that is compared; ours are shorter */

/* How many letters are to be added, taken away, changed or swapped with the
 * next to make one of the other (optimal string alignment). Both are at most
 * LONGEST long. */
static U32 distance_between(const char *a, size_t a_length, const char *b, size_t b_length)
{
    U32 rows[3][LONGEST + 1];                   /* the row before the last, the last, this one */
    size_t i, j;

    for (j = 0; j <= b_length; j++)
        rows[1][j] = (U32)j;
    for (i = 1; i <= a_length; i++) {
        rows[2][0] = (U32)i;
        for (j = 1; j <= b_length; j++) {
            U32 best = rows[1][j - 1] + (toLOWER(a[i - 1]) != b[j - 1]);

            if (rows[1][j] + 1 < best)
                best = rows[1][j] + 1;
            if (rows[2][j - 1] + 1 < best)
                best = rows[2][j - 1] + 1;
            if (i > 1 && j > 1 && toLOWER(a[i - 1]) == b[j - 2] && toLOWER(a[i - 2]) == b[j - 1]
                && rows[0][j - 2] + 1 < best)
                best = rows[0][j - 2] + 1;
            rows[2][j] = best;
        }
        Move(rows[1], rows[0], 2 * (LONGEST + 1), U32);
    }
    return rows[1][b_length];
}

/* `ssl_certificate` for `ssl_cert`, `origin` for `origins`. */
static bool one_begins_the_other(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t shorter = a_length < b_length ? a_length : b_length;

    return shorter >= 4 && a[shorter - 1] != '_' && memEQ(a, b, shorter);
}

void ws_unknown_begin(pTHX_ ws_unknown *unknown, const char *where, SV *name)
{
    Zero(unknown, 1, ws_unknown);
    unknown->where = where;
    unknown->name = name;
    unknown->text = SvPV(name, unknown->length);
    /* Less than half of a short name is left to know it by. */
    unknown->distance = (U32)(unknown->length / 3 < 3 ? unknown->length / 3 : 3) + 1;
}

/* `known` is a name in lower case that would have been taken. */
void ws_unknown_compare(ws_unknown *unknown, const char *known)
{
    const size_t length = strlen(known);
    U32 distance;

    if (unknown->length > LONGEST || length > LONGEST)
        return;
    distance = distance_between(unknown->text, unknown->length, known, length);
    if (distance < unknown->distance) {
        unknown->distance = distance;
        unknown->nearest = known;
    } else if (!unknown->nearest && one_begins_the_other(unknown->text, unknown->length, known, length)) {
        unknown->nearest = known;
    }
}

static bool begins(const char *text, size_t length, const char *beginning)
{
    for (; *beginning; text++, beginning++, length--)
        if (!length || toLOWER(*text) != *beginning)
            return FALSE;
    return TRUE;
}

/* Whether it begins like the options that say who is let in, or who hears of it. */
bool ws_unknown_guards_a_door(const ws_unknown *unknown)
{
    static const char *const beginnings[] = { "ssl_", "on_", "origin" };
    size_t i;

    for (i = 0; i < C_ARRAY_LENGTH(beginnings); i++)
        if (begins(unknown->text, unknown->length, beginnings[i]))
            return TRUE;
    return FALSE;
}

static SV *message(pTHX_ const ws_unknown *unknown)
{
    SV *text = sv_2mortal(newSVpvf("%s: unknown option '%s'", unknown->where,
                                   SvPV_nolen(ws_shown(aTHX_ unknown->name))));

    if (unknown->elsewhere)
        sv_catpvf(text, ": it is an option of %s", unknown->elsewhere);
    else if (unknown->nearest)
        sv_catpvf(text, ": did you mean '%s'?", unknown->nearest);
    return text;
}

void ws_unknown_croak(pTHX_ const ws_unknown *unknown)
{
    croak("%" SVf, SVfARG(message(aTHX_ unknown)));
}

/* Each is named once for each method, so that a program that connects a
 * thousand times stays readable. */
void ws_unknown_warn(pTHX_ const ws_unknown *unknown)
{
    SV *text = message(aTHX_ unknown);
    HV *warned = ws_globals_here(aTHX)->warned;

    if (hv_exists_ent(warned, text, 0))
        return;
    (void)hv_store_ent(warned, text, newSViv(1), 0);
    warn("EV::Websockets: %" SVf, SVfARG(text));
}
