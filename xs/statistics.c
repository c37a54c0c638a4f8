/* Statistics: what a connection, a listener or a context has counted, as a hash of its own for each call. */
#include "websockets.h"

/* A count of 64 bits is more than a UV may hold, and never more than it is worth knowing to 53 bits. */
static SV *count_sv(pTHX_ uint64_t count)
{
    return count <= UV_MAX ? newSVuv((UV)count) : newSVnv((NV)count);
}

#define COUNT(hash, name, count) ((void)hv_stores(hash, name, count_sv(aTHX_ count)))

/* Octets of messages for each octet on the wire; undef: there were none. */
static SV *ratio_sv(pTHX_ const evws_flow *flow)
{
    return flow->payload && flow->wire ? newSVnv((NV)flow->payload / (NV)flow->wire) : newSV(0);
}

static HV *flows(pTHX_ const evws_flow *received, const evws_flow *sent)
{
    HV *hash = newHV();

    COUNT(hash, "messages_received", received->messages);
    COUNT(hash, "messages_sent", sent->messages);
    COUNT(hash, "frames_received", received->frames);
    COUNT(hash, "frames_sent", sent->frames);
    COUNT(hash, "payload_received", received->payload);
    COUNT(hash, "payload_sent", sent->payload);
    COUNT(hash, "wire_received", received->wire);
    COUNT(hash, "wire_sent", sent->wire);
    (void)hv_stores(hash, "compression_received", ratio_sv(aTHX_ received));
    (void)hv_stores(hash, "compression_sent", ratio_sv(aTHX_ sent));
    return hash;
}

SV *ws_connection_stats(pTHX_ ws_connection *conn)
{
    evws_connection_statistics counted;
    HV *hash;

    if (!conn || !evws_statistics(conn->ctx->engine, conn->id, &counted))
        return newSV(0);
    hash = flows(aTHX_ &counted.received, &counted.sent);
    COUNT(hash, "send_queue", counted.queue);
    COUNT(hash, "send_queue_peak", counted.queue_peak);
    COUNT(hash, "messages_dropped", counted.dropped);
    COUNT(hash, "messages_droppable", counted.droppable);
    (void)hv_stores(hash, "latency", ws_fact(aTHX_ conn, WS_LATENCY));
    return newRV_noinc((SV *)hash);
}

static HV *closed_by_code(pTHX_ ws_context *ctx, const uint64_t *listener, size_t count)
{
    size_t codes = evws_closed_by_code(ctx->engine, listener, count, NULL, 0);
    HV *hash = newHV();
    evws_closed *closed;
    size_t i;

    Newx(closed, codes + 1, evws_closed);
    codes = evws_closed_by_code(ctx->engine, listener, count, closed, codes);
    for (i = 0; i < codes; i++) {
        char code[8];

        (void)hv_store(hash, code, my_snprintf(code, sizeof code, "%u", (unsigned)closed[i].code),
                       count_sv(aTHX_ closed[i].connections), 0);
    }
    Safefree(closed);
    return hash;
}

/* The order of the library. */
static HV *rejected_by_cause(pTHX_ const uint64_t *rejected)
{
    static const char *const cause[EVWS_REJECT_CAUSES] = {
        "tls", "request", "host", "origin", "program", "timeout", "gone", "limit", "proxy", "shutdown"
    };
    HV *hash = newHV();
    int i;

    for (i = 0; i < EVWS_REJECT_CAUSES; i++)
        if (rejected[i])
            (void)hv_store(hash, cause[i], (I32)strlen(cause[i]), count_sv(aTHX_ rejected[i]), 0);
    return hash;
}

/* where: the port or path of listeners; NULL: everything. */
SV *ws_context_stats(pTHX_ ws_context *ctx, SV *where)
{
    SV *ids = where ? ws_listener_ids(aTHX_ ctx, "stats", where) : NULL;
    const uint64_t *listener = ids ? (const uint64_t *)SvPVX(ids) : NULL;
    size_t count = ids ? WS_LIST_COUNT(ids, uint64_t) : 0;
    evws_totals totals;
    HV *hash;

    ws_context_engine(aTHX_ ctx);
    if (!evws_sum_statistics(ctx->engine, listener, count, &totals))
        Zero(&totals, 1, evws_totals);
    hash = flows(aTHX_ &totals.received, &totals.sent);
    COUNT(hash, "send_queue", totals.queue);
    COUNT(hash, "send_queue_peak", totals.queue_peak);
    COUNT(hash, "messages_dropped", totals.dropped);
    COUNT(hash, "messages_droppable", totals.droppable);
    COUNT(hash, "opened", totals.opened);
    COUNT(hash, "open", totals.open);
    COUNT(hash, "handshakes", totals.handshakes);
    (void)hv_stores(hash, "closed", newRV_noinc((SV *)closed_by_code(aTHX_ ctx, listener, count)));
    (void)hv_stores(hash, "rejected", newRV_noinc((SV *)rejected_by_cause(aTHX_ totals.rejected)));
    if (!where) {
        uint64_t turns = ws_watch_turns(ctx->watch);

        COUNT(hash, "loop_turns", turns);
        COUNT(hash, "events", totals.events);
        (void)hv_stores(hash, "events_per_turn", newSVnv(turns ? (NV)totals.events / (NV)turns : 0));
    }
    return newRV_noinc((SV *)hash);
}
