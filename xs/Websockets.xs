/* The XS object: what is kept for each interpreter, and BOOT. The methods'
 * XSUBs are in Context.xs and Connection.xs, what they do in the .c files. */
#include "websockets.h"

#define MY_CXT_KEY "EV::Websockets::_guts" XS_VERSION
typedef ws_globals my_cxt_t;
START_MY_CXT

/* Its address stays the same for as long as the interpreter lives. */
ws_globals *ws_globals_here(pTHX)
{
    dMY_CXT;

    return &MY_CXT;
}

/* For a new interpreter: at BOOT, and in a new thread. */
static void globals_init(pTHX_ ws_globals *globals)
{
    int i;

    Zero(globals, 1, ws_globals);
    globals->handshake_stash = gv_stashpvs("EV::Websockets::Handshake", GV_ADD);
    globals->connection_stash = gv_stashpvs("EV::Websockets::Connection", GV_ADD);
    globals->drain = newXS(NULL, ws_drain_xsub, __FILE__);
    globals->warned = newHV();
    for (i = 0; i < 2; i++) {
        globals->number[i] = newSViv(i);
        SvREADONLY_on(globals->number[i]);
    }
}

MODULE = EV::Websockets    PACKAGE = EV::Websockets

PROTOTYPES: DISABLE
VERSIONCHECK: ENABLE

BOOT:
{
    MY_CXT_INIT;

    globals_init(aTHX_ &MY_CXT);
    ws_watch_boot(aTHX);
}

#ifdef USE_ITHREADS

void
CLONE(...)
CODE:
{
    MY_CXT_CLONE;

    PERL_UNUSED_VAR(items);
    globals_init(aTHX_ &MY_CXT);
}

#endif

void
_set_debug(bool on)
CODE:
    ws_globals_here(aTHX)->debug = on;

INCLUDE: Context.xs

INCLUDE: Connection.xs

INCLUDE: Handshake.xs
