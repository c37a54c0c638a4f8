/* The log: lines out of the engine, in words to STDERR, or into the program's
 * callback. Of an interpreter, and of all its contexts, whenever they were made.
 *
 * The callback is called from anywhere, and may do anything. So nothing that it
 * does makes a line: the engines' logs are off until it has returned.
 */
#include "websockets.h"

#include <sys/time.h>
#include <time.h>

/* Indexed by EVWS_LOG_*. */
static const char *const levels[] = { "", "state", "timer", "frame", "handshake", "error", "descriptor" };

static const char *level_of(U32 topic)
{
    return topic < C_ARRAY_LENGTH(levels) ? levels[topic] : "";
}

/* What the engines are to do follows from what is in `globals`. */
static void apply(ws_globals *globals)
{
    ws_context *ctx;
    evws_log_line line;

    globals->logs = globals->debug || globals->on_log;
    for (ctx = globals->contexts; ctx; ctx = ctx->next) {
        if (!ctx->engine)
            continue;
        evws_set_log(ctx->engine, globals->logs && !globals->in_log);
        while (!globals->logs && evws_poll_log(ctx->engine, &line))
            ;                               /* nobody wants it any more */
    }
}

void ws_log_set_debug(pTHX_ bool on)
{
    ws_globals *globals = ws_globals_here(aTHX);

    globals->debug = on;
    apply(globals);
}

void ws_log_set_callback(pTHX_ SV *code)
{
    ws_globals *globals = ws_globals_here(aTHX);
    SV *given = sv_mortalcopy(code);
    SV *old = globals->on_log;

    if (SvOK(given) && !(SvROK(given) && SvTYPE(SvRV(given)) == SVt_PVCV))
        croak("on_log: give a code reference, or undef (got '%s')", ws_shown(aTHX_ given));
    globals->on_log = SvOK(given) ? SvREFCNT_inc_simple_NN(SvRV(given)) : NULL;
    apply(globals);
    SvREFCNT_dec(old);
}

/* A new context is one of its interpreter's. */
void ws_log_enter(ws_context *ctx)
{
    ws_globals *globals = ctx->globals;

    ctx->number = globals->made++;
    ctx->next = globals->contexts;
    ctx->previous = &globals->contexts;
    if (ctx->next)
        ctx->next->previous = &ctx->next;
    globals->contexts = ctx;
    evws_set_log(ctx->engine, globals->logs && !globals->in_log);
}

void ws_log_leave(ws_context *ctx)
{
    *ctx->previous = ctx->next;
    if (ctx->next)
        ctx->next->previous = ctx->previous;
}

/* The engines count for themselves: the first byte tells their contexts apart. */
static UV number_of(const ws_context *ctx, const evws_log_line *line)
{
    return sizeof(UV) < 8 || !line->id ? (UV)line->id : (UV)line->id ^ (UV)(ctx->number & 0xFF) << (8 * sizeof(UV) - 8);
}

static void print(pTHX_ const ws_context *ctx, const evws_log_line *line)
{
    struct timeval now;
    struct tm tm;
    time_t seconds;

    (void)gettimeofday(&now, NULL);
    seconds = now.tv_sec;
    Zero(&tm, 1, struct tm);
    (void)localtime_r(&seconds, &tm);
    PerlIO_printf(PerlIO_stderr(), "EV::Websockets: %02d:%02d:%02d.%06d [%s] ", tm.tm_hour, tm.tm_min, tm.tm_sec,
                  (int)now.tv_usec, level_of(line->topic));
    if (line->id)
        PerlIO_printf(PerlIO_stderr(), "#%" UVuf ": ", number_of(ctx, line));
    PerlIO_printf(PerlIO_stderr(), "%.*s\n", (int)line->text.length, WS_TEXT(line->text));
}

/* ---- the callback ---- */

XS(ws_log_failed_xsub)
{
    dXSARGS;

    if (items == 1)
        warn("EV::Websockets: exception in on_log: %" SVf, SVfARG(ST(0)));
    XSRETURN_EMPTY;
}

static void callback_over(pTHX_ void *globals)
{
    ((ws_globals *)globals)->in_log = FALSE;
    apply((ws_globals *)globals);
}

/* However it is left, the log goes on afterwards. A line of the program sees
 * neither $@ nor $! of it. */
static void hand_over(pTHX_ const ws_context *ctx, const evws_log_line *line)
{
    ws_globals *globals = ctx->globals;
    SV *code = globals->on_log;
    SV *arg[3];
    dSAVE_ERRNO;

    ENTER;
    SAVETMPS;
    (void)sv_2mortal(SvREFCNT_inc_simple_NN(code));
    arg[0] = sv_2mortal(newSVpv(level_of(line->topic), 0));
    arg[1] = sv_2mortal(sizeof(UV) < 8 ? newSVnv((NV)line->id) : newSVuv(number_of(ctx, line)));
    arg[2] = sv_2mortal(newSVpvn(WS_TEXT(line->text), line->text.length));
    save_scalar(PL_errgv);
    SAVEDESTRUCTOR_X(callback_over, globals);
    globals->in_log = TRUE;
    apply(globals);
    (void)ws_call(aTHX_ code, arg, 3, G_EVAL | G_VOID);
    if (ws_died(aTHX)) {
        arg[0] = sv_mortalcopy(ERRSV);
        (void)ws_call(aTHX_ (SV *)globals->log_failed, arg, 1, G_EVAL | G_VOID);
        if (ws_died(aTHX))
            PerlIO_printf(PerlIO_stderr(), "EV::Websockets: exception in on_log (and one while warning about it)\n");
    }
    FREETMPS;
    LEAVE;
    RESTORE_ERRNO;
}

static void tell(pTHX_ const ws_context *ctx, const evws_log_line *line)
{
    if (ctx->globals->on_log)
        hand_over(aTHX_ ctx, line);
    else if (ctx->globals->debug)
        print(aTHX_ ctx, line);
}

/* ---- lines ---- */

static void unref(pTHX_ void *ctx)
{
    ws_context_unref(aTHX_ (ws_context *)ctx);
}

/* Hands out the lines that the engine has. That can run Perl code, which can
 * destroy the context. A forked child has the parent's lines, and keeps them. */
void ws_log_take(pTHX_ ws_context *ctx)
{
    evws_log_line line;

    if (ctx->globals->in_log || getpid() != ctx->pid)
        return;
    ENTER;
    ctx->refs++;
    SAVEDESTRUCTOR_X(unref, ctx);
    while (ctx->engine && evws_poll_log(ctx->engine, &line))
        tell(aTHX_ ctx, &line);
    LEAVE;
}

/* Takes the lines of the log at the end of a drain, whose reference to the context it gives back.
 * Whether the context is still there. */
bool ws_log_end(pTHX_ ws_context *ctx)
{
    bool is_there;

    ENTER;
    SAVEDESTRUCTOR_X(unref, ctx);
    ws_log_take(aTHX_ ctx);
    is_there = ctx->engine != NULL;
    LEAVE;
    return is_there;
}

/* A line that the engine cannot make. */
void ws_log_say(pTHX_ ws_context *ctx, U32 topic, const char *text)
{
    evws_log_line line;

    if (ctx->globals->in_log || getpid() != ctx->pid)
        return;
    Zero(&line, 1, evws_log_line);
    line.topic = topic;
    line.text.data = (const uint8_t *)text;
    line.text.length = strlen(text);
    tell(aTHX_ ctx, &line);
}
