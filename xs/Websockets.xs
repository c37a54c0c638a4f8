/* The XS object: what is kept for each interpreter, and BOOT. The methods'
 * XSUBs are in Context.xs and Connection.xs, what they do in the .c files. */
#include "websockets.h"

#define MY_CXT_KEY "EV::Websockets::_guts" XS_VERSION
typedef ws_globals my_cxt_t;
START_MY_CXT

/* Whether a scalar can have a buffer from malloc(3), as far as perl's headers say. */
#if defined(MYMALLOC) || defined(PERL_TRACK_MEMPOOL) || !defined(SV_HAS_TRAILING_NUL)
#  define TAKES_MEMORY 0
#else
#  define TAKES_MEMORY 1
#endif

/* For a new interpreter: at BOOT, and in a new thread. */
static void globals_init(pTHX_ ws_globals *globals, bool gives_memory)
{
    int i;

    Zero(globals, 1, ws_globals);
    globals->gives_memory = gives_memory;
#ifdef PERL_IMPLICIT_CONTEXT
    globals->perl = aTHX;
#endif
    globals->handshake_stash = gv_stashpvs("EV::Websockets::Handshake", GV_ADD);
    globals->connection_stash = gv_stashpvs("EV::Websockets::Connection", GV_ADD);
    globals->drain = newXS(NULL, ws_drain_xsub, __FILE__);
    globals->unheard = newXS(NULL, ws_unheard_xsub, __FILE__);
    globals->log_failed = newXS(NULL, ws_log_failed_xsub, __FILE__);
    for (i = 0; i < 2; i++) {
        globals->number[i] = newSViv(i);
        SvREADONLY_on(globals->number[i]);
    }
}

#ifdef USE_ITHREADS

static ws_globals *globals_clone(pTHX)
{
    MY_CXT_CLONE;
    bool debug;

    debug = MY_CXT.debug;
    globals_init(aTHX_ &MY_CXT, MY_CXT.gives_memory);
    MY_CXT.debug = MY_CXT.logs = debug;
    return &MY_CXT;
}

#endif

/* Its address stays the same for as long as the interpreter lives. A new thread
 * begins with the address of its parent's: the CLONE of another package may be
 * called before ours, and use the module. */
ws_globals *ws_globals_here(pTHX)
{
    dMY_CXT;

#ifdef USE_ITHREADS
    if (MY_CXT.perl != aTHX)
        return globals_clone(aTHX);
#endif
    return &MY_CXT;
}

MODULE = EV::Websockets    PACKAGE = EV::Websockets

PROTOTYPES: DISABLE
VERSIONCHECK: ENABLE

BOOT:
{
    const char *debug = PerlEnv_getenv("EV_WEBSOCKETS_DEBUG");
    MY_CXT_INIT;

    globals_init(aTHX_ &MY_CXT, TAKES_MEMORY && SvTRUE(ws_call_helper(aTHX_ "EV::Websockets::_takes_memory", NULL, 0)));
    ws_log_set_debug(aTHX_ debug && *debug && strNE(debug, "0"));
    ws_watch_boot(aTHX);
}

#ifdef USE_ITHREADS

void
CLONE(...)
CODE:
    PERL_UNUSED_VAR(items);
    (void)ws_globals_here(aTHX);

#endif

void
_set_debug(bool on)
CODE:
    ws_log_set_debug(aTHX_ on);

void
on_log(SV *code)
CODE:
    ws_log_set_callback(aTHX_ code);

INCLUDE: Context.xs

INCLUDE: Connection.xs

INCLUDE: Handshake.xs
