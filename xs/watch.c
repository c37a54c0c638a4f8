/* What libev watches for a context: an ev_io for each token, one ev_timer for
 * all deadlines, one ev_prepare with an ev_idle for work that waits. The only
 * file that calls libev. The engine says what it wants watched; nothing is
 * decided here.
 *
 * The slots are also where a token leads to its connection or listener, since
 * both are indexed by its low 32 bits.
 */
#include "websockets.h"
#include "EVAPI.h"

/* INVARIANT: io is the first member, so libev's ev_io * is the slot. */
typedef struct ws_slot {
    ev_io io;                   /* io.data: the ws_context */
    uint64_t token;             /* what io stands for */
    ws_connection *conn;        /* one reference to its scalar; NULL: none */
    ws_listener *listener;      /* owned */
    bool keeps;                 /* counted in ws_watch.keeps */
} ws_slot;

/* Slots are allocated by the chunk: libev holds their addresses, so that they
 * may not move, and one by one they would cost a malloc header each. */
#define CHUNK_SLOTS 64
#define CHUNK_LIMIT ((1u << 24) / CHUNK_SLOTS)

struct ws_watch {
    struct ev_loop *loop;
    SV *loop_sv;                /* the EV::Loop object, or NULL for the default loop */
    ws_slot **chunk;
    U32 chunks;
    ev_timer timer;
    ev_prepare prepare;
    ev_idle idle;               /* active whenever prepare is */
    unsigned iteration;         /* the loop's, when it was last entered from */
    uint64_t turns;             /* how many iterations had something for us */
    U32 keeps;                  /* slots that keep the loop alive without a watcher; if any, we have one ev_ref */
};

void ws_watch_boot(pTHX)
{
    I_EV_API("EV::Websockets");
}

/* ---- entry points: libev calls these ---- */

static void timer_watch(ws_watch *watch, double seconds);

#ifdef PERL_IMPLICIT_CONTEXT
#  define WS_CONTEXT_THX(ctx) dTHXa((ctx)->perl)
#else
#  define WS_CONTEXT_THX(ctx) dNOOP
#endif

/* Statistics know how many turns of the loop there were something to do in. */
static void entered(ws_watch *watch)
{
    unsigned iteration = ev_iteration(watch->loop);

    if (iteration != watch->iteration) {
        watch->iteration = iteration;
        watch->turns++;
    }
}

static void io_ready(struct ev_loop *loop, ev_io *io, int revents)
{
    ws_slot *slot = (ws_slot *)io;
    ws_context *ctx = (ws_context *)io->data;
    WS_CONTEXT_THX(ctx);

    PERL_UNUSED_ARG(loop);
    entered(ctx->watch);
    /* EV_ERROR: libev gave up on the descriptor. Reading it says why. */
    evws_handle_io(ctx->engine, slot->token, !!(revents & (EV_READ | EV_ERROR)), !!(revents & (EV_WRITE | EV_ERROR)));
    ws_drain(aTHX_ ctx);
}

static void timer_ready(struct ev_loop *loop, ev_timer *timer, int revents)
{
    ws_context *ctx = (ws_context *)timer->data;
    WS_CONTEXT_THX(ctx);

    PERL_UNUSED_ARG(loop);
    PERL_UNUSED_ARG(revents);
    entered(ctx->watch);
    evws_handle_timeout(ctx->engine);
    ws_drain(aTHX_ ctx);
}

/* Work that waits is done before the loop sleeps. */
static void settle(ws_context *ctx)
{
    WS_CONTEXT_THX(ctx);

    entered(ctx->watch);
    ws_watch_rest(ctx);
    evws_handle_prepare(ctx->engine);
    /* The loop is about to sleep, but callbacks have run: whoever runs one turn
     * of it at a time wants to know. */
    if (ws_drain(aTHX_ ctx))
        timer_watch(ctx->watch, 0);
}

static void prepare_ready(struct ev_loop *loop, ev_prepare *prepare, int revents)
{
    PERL_UNUSED_ARG(loop);
    PERL_UNUSED_ARG(revents);
    settle((ws_context *)prepare->data);
}

/* The work came from another prepare watcher, as it does from coroutines that
 * Coro::EV runs in its own: too late for ours. An active ev_idle keeps the loop
 * from sleeping all the same. */
static void idle_ready(struct ev_loop *loop, ev_idle *idle, int revents)
{
    PERL_UNUSED_ARG(loop);
    PERL_UNUSED_ARG(revents);
    settle((ws_context *)idle->data);
}

uint64_t ws_watch_turns(const ws_watch *watch)
{
    return watch->turns;
}

/* ---- life ---- */

/* loop: the referent of an EV::Loop object, or NULL. */
ws_watch *ws_watch_new(pTHX_ ws_context *ctx, SV *loop)
{
    ws_watch *watch;

    Newxz(watch, 1, ws_watch);
    watch->loop_sv = SvREFCNT_inc(loop);
    watch->loop = loop ? INT2PTR(struct ev_loop *, SvIVX(loop)) : EV_DEFAULT;
    ev_timer_init(&watch->timer, timer_ready, 0, 0);
    ev_prepare_init(&watch->prepare, prepare_ready);
    ev_idle_init(&watch->idle, idle_ready);
    watch->timer.data = (SV *)ctx;
    watch->prepare.data = (SV *)ctx;
    watch->idle.data = (SV *)ctx;
    return watch;
}

void ws_watch_stop(ws_watch *watch)
{
    U32 i, j;

    for (i = 0; i < watch->chunks; i++)
        for (j = 0; watch->chunk[i] && j < CHUNK_SLOTS; j++)
            if (ev_is_active(&watch->chunk[i][j].io))
                ev_io_stop(watch->loop, &watch->chunk[i][j].io);
    ev_timer_stop(watch->loop, &watch->timer);
    ev_prepare_stop(watch->loop, &watch->prepare);
    ev_idle_stop(watch->loop, &watch->idle);
    if (watch->keeps)
        ev_unref(watch->loop);
    watch->keeps = 0;
}

/* After ws_watch_stop, connections and listeners being gone. */
void ws_watch_free(pTHX_ ws_watch *watch)
{
    U32 i;

    for (i = 0; i < watch->chunks; i++)
        Safefree(watch->chunk[i]);
    Safefree(watch->chunk);
    SvREFCNT_dec(watch->loop_sv);
    Safefree(watch);
}

/* ---- slots ---- */

static ws_slot *slot_find(const ws_watch *watch, uint64_t token)
{
    U32 index = (U32)token;
    U32 chunk = index / CHUNK_SLOTS;

    return chunk < watch->chunks && watch->chunk[chunk] ? &watch->chunk[chunk][index % CHUNK_SLOTS] : NULL;
}

static void chunk_make(pTHX_ ws_watch *watch, ws_context *ctx, U32 chunk)
{
    ws_slot *slots;
    U32 i;

    Newxz(slots, CHUNK_SLOTS, ws_slot);
    for (i = 0; i < CHUNK_SLOTS; i++) {
        ev_init(&slots[i].io, io_ready);
        slots[i].io.data = (SV *)ctx;
    }
    watch->chunk[chunk] = slots;
}

static ws_slot *slot_make(pTHX_ ws_watch *watch, uint64_t token)
{
    U32 chunk = (U32)token / CHUNK_SLOTS;

    if (chunk >= CHUNK_LIMIT)
        croak("EV::Websockets: slot %u is out of range", (unsigned)token);
    if (chunk >= watch->chunks) {
        U32 chunks = chunk < 2 * watch->chunks ? 2 * watch->chunks : chunk + 1;

        Renew(watch->chunk, chunks, ws_slot *);
        Zero(watch->chunk + watch->chunks, chunks - watch->chunks, ws_slot *);
        watch->chunks = chunks;
    }
    if (!watch->chunk[chunk])
        chunk_make(aTHX_ watch, (ws_context *)watch->timer.data, chunk);
    return slot_find(watch, token);
}

U32 ws_watch_slots(const ws_watch *watch)
{
    return watch->chunks * CHUNK_SLOTS;
}

ws_connection *ws_watch_connection_at(const ws_watch *watch, U32 index)
{
    ws_slot *slot = slot_find(watch, index);

    return slot ? slot->conn : NULL;
}

/* NULL also when the slot's connection is another one by now. */
ws_connection *ws_watch_connection(const ws_watch *watch, uint64_t id)
{
    ws_connection *conn = ws_watch_connection_at(watch, (U32)id);

    return conn && conn->id == id ? conn : NULL;
}

void ws_watch_set_connection(pTHX_ ws_watch *watch, uint64_t id, ws_connection *conn)
{
    slot_make(aTHX_ watch, id)->conn = conn;
}

ws_listener *ws_watch_listener_at(const ws_watch *watch, U32 index)
{
    ws_slot *slot = slot_find(watch, index);

    return slot ? slot->listener : NULL;
}

ws_listener *ws_watch_listener(const ws_watch *watch, uint64_t id)
{
    ws_listener *listener = ws_watch_listener_at(watch, (U32)id);

    return listener && listener->id == id ? listener : NULL;
}

void ws_watch_set_listener(pTHX_ ws_watch *watch, uint64_t id, ws_listener *listener)
{
    slot_make(aTHX_ watch, id)->listener = listener;
}

/* ---- what the engine wants ---- */

/* A paused connection has no watcher, and still has to keep the loop running. */
static void slot_keep(ws_watch *watch, ws_slot *slot, bool keep)
{
    if (slot->keeps == keep)
        return;
    slot->keeps = keep;
    if (keep && !watch->keeps++)
        ev_ref(watch->loop);
    else if (!keep && !--watch->keeps)
        ev_unref(watch->loop);
}

/* The same descriptor with another interest is modified in place: libev then
 * leaves out the epoll_ctl when the interest is back before it blocks. */
static void slot_watch(ws_watch *watch, ws_slot *slot, const evws_watch *want)
{
    int events = (want->events & EVWS_WATCH_READ ? EV_READ : 0) | (want->events & EVWS_WATCH_WRITE ? EV_WRITE : 0);
    bool same = slot->token == want->token && slot->io.fd == want->fd && ev_is_active(&slot->io);

    slot_keep(watch, slot, cBOOL(want->events & EVWS_WATCH_KEEP));
    ev_io_stop(watch->loop, &slot->io);
    slot->token = want->token;
    if (!events)
        return;
#ifdef ev_io_modify
    if (same)
        ev_io_modify(&slot->io, events);
    else
#endif
        ev_io_set(&slot->io, want->fd, events);
    ev_io_start(watch->loop, &slot->io);
    PERL_UNUSED_VAR(same);
}

/* A deadline that has moved away leaves the timer where it is: it fires once
 * too early, which costs less than moving it with every message. Where it is the
 * loop says: that moves when the loop is suspended, and not when somebody sets the
 * clock, as the time of day does. */
static void timer_watch(ws_watch *watch, double seconds)
{
    const ev_tstamp precision = 0.001;
    const bool is_active = cBOOL(ev_is_active(&watch->timer));
    ev_tstamp latest, late;

    if (seconds < 0) {
        if (is_active)
            ev_timer_stop(watch->loop, &watch->timer);
        return;
    }
    latest = is_active ? ev_timer_remaining(watch->loop, &watch->timer) - precision : HUGE_VAL;
    if (seconds >= latest)
        return;
    /* The loop counts from its own time, which a long turn has left behind: it would wake up before the deadline, and
     * once more for it. Should somebody set the clock meanwhile, that delays the deadline by no more than this. */
    late = ev_time() - ev_now(watch->loop);
    if (late > 0)
        seconds += late < 1 ? late : 1;
    if (seconds >= latest)
        return;
    if (is_active)
        ev_timer_stop(watch->loop, &watch->timer);
    ev_timer_set(&watch->timer, seconds, 0.);
    ev_timer_start(watch->loop, &watch->timer);
}

/* After the last event: the loop learns what the engine waits for. */
void ws_watch_settle(pTHX_ ws_context *ctx)
{
    evws_watch want;

    while (evws_poll_watch(ctx->engine, &want))
        slot_watch(ctx->watch, slot_make(aTHX_ ctx->watch, want.token), &want);
    timer_watch(ctx->watch, evws_poll_deadline(ctx->engine));
    ws_watch_rest(ctx);
}

/* The loop is to call evws_handle_prepare before it blocks. */
void ws_watch_wake(ws_context *ctx)
{
    if (!ctx->engine)
        return;
    ctx->settle = TRUE;
    ev_prepare_start(ctx->watch->loop, &ctx->watch->prepare);
    ev_idle_start(ctx->watch->loop, &ctx->watch->idle);
}

void ws_watch_rest(ws_context *ctx)
{
    if (!ctx->settle)
        return;
    ctx->settle = FALSE;
    ev_prepare_stop(ctx->watch->loop, &ctx->watch->prepare);
    ev_idle_stop(ctx->watch->loop, &ctx->watch->idle);
}
