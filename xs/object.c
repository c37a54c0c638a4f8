/* The Perl objects: how a scalar leads to its C struct, and who owns whom.
 *
 * The struct hangs on the blessed scalar as ext magic with a vtbl of ours, not
 * as a pointer in its IV: no Perl code can forge or change it, and it is freed
 * exactly when the scalar is. One connection has one scalar, whatever number
 * of references to it the program and the callbacks see.
 */
#include "websockets.h"

static int context_free(pTHX_ SV *sv, MAGIC *mg);
static int connection_free(pTHX_ SV *sv, MAGIC *mg);

/* How each of the structs begins. */
typedef struct { SV *sv; } ws_owned;

/* In a new thread the struct still belongs to the interpreter that made it. */
int ws_forget_on_dup(pTHX_ MAGIC *mg, CLONE_PARAMS *params)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(params);
    mg->mg_ptr = NULL;
    return 0;
}

/* `local` on an alias of the object's scalar puts a new scalar in its place for a
 * while, and would give that our magic, too, with the same pointer to free. */
int ws_not_for_local(pTHX_ SV *sv, MAGIC *mg)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(sv);
    PERL_UNUSED_ARG(mg);
    return 0;
}

static MGVTBL context_vtbl    = WS_OBJECT_VTBL(context_free);
static MGVTBL connection_vtbl = WS_OBJECT_VTBL(connection_free);

/* A new scalar, without references to it beside the caller's, that owns `data`. */
SV *ws_object_new(pTHX_ HV *stash, MGVTBL *vtbl, void *data)
{
    SV *sv = newSV_type(SVt_PVMG);
    MAGIC *mg = sv_magicext(sv, NULL, PERL_MAGIC_ext, vtbl, (const char *)data, 0);
    SV *rv = newRV_inc(sv);

    ((ws_owned *)data)->sv = sv;
    mg->mg_flags |= MGf_DUP | MGf_LOCAL;
    sv_bless(rv, stash);
    SvREFCNT_dec(rv);
    return sv;
}

/* NULL: `sv`, whose own magic was run, is no object of this kind. */
MAGIC *ws_object_magic(pTHX_ SV *sv, const MGVTBL *vtbl)
{
    MAGIC *mg;

    PERL_UNUSED_CONTEXT;
    if (!SvROK(sv) || SvTYPE(SvRV(sv)) < SVt_PVMG)
        return NULL;
    for (mg = SvMAGIC(SvRV(sv)); mg; mg = mg->mg_moremagic)
        if (mg->mg_type == PERL_MAGIC_ext && mg->mg_virtual == vtbl)
            return mg;
    return NULL;
}

/* Whether a value is one of our objects, and has no text of its own: what it would be as one is its class and its address. */
bool ws_is_bare_object(pTHX_ SV *value)
{
    MAGIC *mg;

    if (!SvROK(value) || ws_has_text(aTHX_ value) || SvTYPE(SvRV(value)) < SVt_PVMG)
        return FALSE;
    for (mg = SvMAGIC(SvRV(value)); mg; mg = mg->mg_moremagic)
        if (mg->mg_type == PERL_MAGIC_ext && mg->mg_virtual && mg->mg_virtual->svt_local == ws_not_for_local)
            return TRUE;
    return FALSE;
}

const char *ws_method_name(pTHX_ CV *method)
{
    return GvNAME(CvGV(method));
}

/* The struct of a method's invocant, whose own magic was run; `kind` is its class without "EV::Websockets::". NULL,
 * unless it is `required`: the object was copied into another thread. */
void *ws_object_invocant(pTHX_ SV *sv, const MGVTBL *vtbl, const char *kind, CV *method, bool required)
{
    MAGIC *mg = ws_object_magic(aTHX_ sv, vtbl);

    if (!mg || (required && !mg->mg_ptr))
        croak("EV::Websockets::%s::%s: the invocant is not an EV::Websockets::%s object", kind,
              ws_method_name(aTHX_ method), kind);
    return mg->mg_ptr;
}

/* The struct of a magic that is about to be freed, if it is this scalar's to free:
 * whatever else copies magic copies the pointer with it. */
void *ws_object_owned(SV *sv, const MAGIC *mg)
{
    return mg->mg_ptr && ((ws_owned *)mg->mg_ptr)->sv == sv ? mg->mg_ptr : NULL;
}

/* Storable, Clone and Data::Dumper copy the scalar and its class, without what was
 * behind it. perl calls DESTROY on such copies, too. */
bool ws_is_mere_copy(pTHX_ SV *sv)
{
    SvGETMAGIC(sv);
    return sv_isobject(sv) && !ws_object_magic(aTHX_ sv, &context_vtbl) && !ws_object_magic(aTHX_ sv, &connection_vtbl);
}

/* ---- arguments ----
 * Perl's argument stack owns nothing. Code behind one argument (tie, overloading,
 * a warn handler) can drop the last reference to another, or to the object. */

static void hold(pTHX_ SV *sv)
{
    if (sv)
        (void)sv_2mortal(SvREFCNT_inc_simple_NN(sv));
}

/* The invocant of a method with its magic run, for the typemap. The other
 * arguments stay until the XSUB has returned. */
SV *ws_invocant(pTHX_ SV **args, I32 count)
{
    I32 i;

    for (i = SvGMAGICAL(args[0]) ? 0 : 1; i < count; i++)
        hold(aTHX_ args[i]);
    SvGETMAGIC(args[0]);
    return args[0];
}

/* Holds the invocant and what it refers to. */
SV *ws_held_invocant(pTHX_ SV **args, I32 count)
{
    SV *self = ws_invocant(aTHX_ args, count);

    if (SvROK(self))
        hold(aTHX_ SvRV(self));
    return self;
}

/* Holds arguments at no cost where no code can run: copies take the place of
 * the arguments, NULL among them, if there is magic or a reference in any but the first. */
void ws_settle_arguments(pTHX_ SV **args, I32 count)
{
    bool plain = !SvGMAGICAL(args[0]);
    I32 i;

    for (i = 1; i < count; i++)
        if (args[i] && (SvGMAGICAL(args[i]) || SvROK(args[i])))
            plain = FALSE;
    if (plain)
        return;
    for (i = 0; i < count; i++)
        hold(aTHX_ args[i]);
    for (i = 0; i < count; i++)
        if (args[i])
            args[i] = sv_mortalcopy(args[i]);
}

/* ---- callbacks ---- */

ws_callbacks *ws_callbacks_ref(ws_callbacks *callbacks)
{
    callbacks->refs++;
    return callbacks;
}

void ws_callbacks_forget_url(pTHX_ ws_callbacks *callbacks)
{
    SV *url = callbacks->url;

    callbacks->url = NULL;
    SvREFCNT_dec(url);
}

void ws_callbacks_unref(pTHX_ ws_callbacks *callbacks)
{
    int i;

    if (!callbacks || --callbacks->refs)
        return;
    for (i = 0; i < WS_CALLBACK_COUNT; i++)
        SvREFCNT_dec(callbacks->on[i]);
    SvREFCNT_dec((SV *)callbacks->origins);
    SvREFCNT_dec(callbacks->url);
    Safefree(callbacks);
}

/* The context forgets it. NULL: there is none. */
void ws_listener_drop(pTHX_ ws_context *ctx, ws_listener *listener)
{
    if (!listener)
        return;
    ws_watch_set_listener(aTHX_ ctx->watch, listener->id, NULL);
    ws_callbacks_unref(aTHX_ listener->callbacks);
    SvREFCNT_dec(listener->name);
    Safefree(listener);
}

/* ---- context ---- */

ws_context *ws_context_new(pTHX_ SV *loop, HV *settings)
{
    ws_context *ctx;
    evws_context *engine = NULL;

    if (evws_context_new(&engine) != EVWS_STATUS_OK)
        croak("new: the engine could not be started");
    Newxz(ctx, 1, ws_context);
    ctx->refs = 1;
    ctx->pid = getpid();
    ctx->engine = engine;
    ctx->globals = ws_globals_here(aTHX);
    ctx->settings = (HV *)SvREFCNT_inc((SV *)settings);
    ctx->watch = ws_watch_new(aTHX_ ctx, loop);
    ws_log_enter(ctx);
#ifdef PERL_IMPLICIT_CONTEXT
    ctx->perl = aTHX;
#endif
    return ctx;
}

/* Takes over the first reference of a new context. */
SV *ws_context_object(pTHX_ ws_context *ctx, HV *stash)
{
    return newRV_noinc(ws_object_new(aTHX_ stash, &context_vtbl, ctx));
}

static int hold_free(pTHX_ SV *sv, MAGIC *mg)
{
    PERL_UNUSED_ARG(sv);
    if (mg->mg_ptr)
        ws_context_unref(aTHX_ (ws_context *)mg->mg_ptr);
    return 0;
}

static MGVTBL hold_vtbl = { 0, 0, 0, 0, hold_free, 0, ws_forget_on_dup, 0 };

/* NULL: the object was copied into another thread. The struct stays until the XSUB has returned; the object does
 * not, so that the context is destroyed when the program drops it in the middle of the call. */
ws_context *ws_context_invocant(pTHX_ SV *sv, CV *method)
{
    ws_context *ctx = (ws_context *)ws_object_invocant(aTHX_ sv, &context_vtbl, "Context", method, FALSE);
    MAGIC *mg;

    if (ctx) {
        ctx->refs++;
        mg = sv_magicext(sv_2mortal(newSV_type(SVt_PVMG)), NULL, PERL_MAGIC_ext, &hold_vtbl, (const char *)ctx, 0);
        mg->mg_flags |= MGf_DUP;
    }
    return ctx;
}

evws_context *ws_context_engine(pTHX_ ws_context *ctx)
{
    if (!ctx || !ctx->engine)
        croak("Context has been destroyed");
    return ctx->engine;
}

/* The context lets go of it. The callbacks go, too: a closure that captured its own $conn is a cycle until then. */
static void let_go(pTHX_ ws_context *ctx, ws_connection *conn)
{
    ws_callbacks *callbacks = conn->callbacks;

    conn->callbacks = NULL;
    ws_watch_set_connection(aTHX_ ctx->watch, conn->id, NULL);
    SvREFCNT_dec(conn->sv);
    ws_callbacks_unref(aTHX_ callbacks);
}

/* First every connection is marked, then they are let go one by one: that can
 * run Perl code, which must not find a connection that looks open. */
static void drop_connections(pTHX_ ws_context *ctx)
{
    U32 count = ws_watch_slots(ctx->watch);
    ws_connection *conn;
    U32 i;

    for (i = 0; i < count; i++)
        if ((conn = ws_watch_connection_at(ctx->watch, i)))
            conn->open = FALSE;
    for (i = 0; i < count; i++)
        if ((conn = ws_watch_connection_at(ctx->watch, i)))
            let_go(aTHX_ ctx, conn);
}

static void drop_listeners(pTHX_ ws_context *ctx)
{
    U32 i;

    for (i = 0; i < ws_watch_slots(ctx->watch); i++)
        ws_listener_drop(aTHX_ ctx, ws_watch_listener_at(ctx->watch, i));
}

/* No call into the engine is ever under way here: it returns before Perl runs.
 * At global destruction the loop may be gone already, so its watchers and their
 * descriptors are left alone; the process is about to end anyway. What would
 * outlive it are the files of Unix sockets. */
void ws_context_destroy(pTHX_ ws_context *ctx)
{
    evws_context *engine = ctx->engine;
    SV *at_shutdown, *stashes, *frames, *back_end;

    if (!engine)
        return;
    if (PL_dirty) {
        evws_context_remove_socket_files(engine);
        return;
    }
    WS_LOG(ctx);
    if (ctx->engine != engine)
        return;
    ctx->engine = NULL;
    ctx->refs++;
    ws_watch_stop(ctx->watch);
    evws_context_free(engine, getpid() != ctx->pid);
    drop_connections(aTHX_ ctx);
    drop_listeners(aTHX_ ctx);
    at_shutdown = (SV *)ctx->at_shutdown;
    stashes = (SV *)ctx->stashes;
    frames = (SV *)ctx->frames;
    back_end = ctx->back_end;
    ctx->frames = NULL;
    ctx->back_end = NULL;
    ctx->at_shutdown = NULL;
    ctx->stashes = NULL;
    SvREFCNT_dec(at_shutdown);
    SvREFCNT_dec(stashes);
    SvREFCNT_dec(frames);
    SvREFCNT_dec(back_end);
    if (ctx->globals->logs)
        ws_log_say(aTHX_ ctx, EVWS_LOG_STATE, "a context is destroyed");
    ws_context_unref(aTHX_ ctx);
}

/* DESTROY: by perl, or by hand. */
void ws_context_dropped(pTHX_ SV *sv, CV *method)
{
    ws_context *ctx;

    if (ws_is_mere_copy(aTHX_ sv))
        return;
    ctx = (ws_context *)ws_object_invocant(aTHX_ sv, &context_vtbl, "Context", method, FALSE);
    if (ctx)
        ws_context_destroy(aTHX_ ctx);
}

/* After a panic in the engine every call on it does nothing, so that a readable
 * descriptor would have the loop spin. The context ends, and says so; not with
 * warn, whose handler could die into the loop. */
void ws_context_check(pTHX_ ws_context *ctx)
{
    if (!evws_is_poisoned(ctx->engine))
        return;
    PerlIO_printf(PerlIO_stderr(), "EV::Websockets: " WS_BUG "\n");
    ws_context_destroy(aTHX_ ctx);
}

void ws_context_unref(pTHX_ ws_context *ctx)
{
    if (--ctx->refs)
        return;
    ws_log_leave(ctx);
    SvREFCNT_dec(ctx->spare_rv);
    SvREFCNT_dec(ctx->spare_payload);
    SvREFCNT_dec((SV *)ctx->settings);
    ws_watch_free(aTHX_ ctx->watch);
    Safefree(ctx);
}

static int context_free(pTHX_ SV *sv, MAGIC *mg)
{
    ws_context *ctx = (ws_context *)ws_object_owned(sv, mg);

    if (ctx && !PL_dirty) {
        ws_context_destroy(aTHX_ ctx);
        ws_context_unref(aTHX_ ctx);
    }
    return 0;
}

/* ---- connection ---- */

/* Takes over the caller's reference to `callbacks`. The context's reference to the new object is the only one. */
ws_connection *ws_connection_new(pTHX_ ws_context *ctx, uint64_t id, ws_callbacks *callbacks)
{
    ws_connection *conn;

    Newxz(conn, 1, ws_connection);
    conn->ctx = ctx;
    ctx->refs++;
    conn->id = id;
    conn->callbacks = callbacks;
    conn->utf8 = callbacks->utf8;
    conn->open = TRUE;
    (void)ws_object_new(aTHX_ ctx->globals->connection_stash, &connection_vtbl, conn);
    ws_watch_set_connection(aTHX_ ctx->watch, id, conn);
    return conn;
}

/* What connect and adopt return. */
SV *ws_connection_opened(pTHX_ ws_connection *conn)
{
    SV *rv = newRV_inc(conn->sv);

    WS_CALLED(conn->ctx);
    return rv;
}

/* NULL: it was an object, and is no longer backed by a connection: DESTROY was
 * called on it, or it was copied into another thread. */
ws_connection *ws_connection_from_sv(pTHX_ SV *sv, CV *method)
{
    ws_connection *conn = (ws_connection *)ws_object_invocant(aTHX_ sv, &connection_vtbl, "Connection", method, FALSE);

    return conn && !conn->destroyed ? conn : NULL;
}

/* NULL: the value is no connection, or not one of this interpreter's. */
const ws_connection *ws_connection_of(pTHX_ SV *sv)
{
    MAGIC *mg = ws_object_magic(aTHX_ sv, &connection_vtbl);

    return mg ? (const ws_connection *)mg->mg_ptr : NULL;
}

/* Its id means nothing from here on. The caller holds a reference to conn->sv. */
void ws_connection_close(pTHX_ ws_connection *conn)
{
    if (!conn->open)
        return;
    conn->open = FALSE;
    let_go(aTHX_ conn->ctx, conn);
}

/* The engine knows the counts of the connection that it told of as closed last, and another one may close while the
 * on_close of this one runs. */
void ws_connection_keep_stats(pTHX_ ws_connection *conn)
{
    evws_traffic counted;

    if (!evws_statistics(conn->ctx->engine, conn->id, &counted))
        return;
    Newx(conn->last, 1, evws_traffic);
    *conn->last = counted;
}

void ws_connection_forget_stats(pTHX_ ws_connection *conn)
{
    Safefree(conn->last);
    conn->last = NULL;
}

U32 ws_connection_state(ws_connection *conn)
{
    return conn->open ? evws_state(conn->ctx->engine, conn->id) : EVWS_STATE_CLOSED;
}

static int connection_free(pTHX_ SV *sv, MAGIC *mg)
{
    ws_connection *conn = (ws_connection *)ws_object_owned(sv, mg);

    /* Open, and yet freed: at global destruction, with the context left as it is. */
    if (!conn || conn->open)
        return 0;
    SvREFCNT_dec((SV *)conn->stash);
    SvREFCNT_dec(conn->handle);
    ws_context_unref(aTHX_ conn->ctx);
    Safefree(conn);
    return 0;
}
