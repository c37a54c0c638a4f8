/* Statistics: what a connection, a listener or a context has counted, as a hash of its own for each call. */
#include "websockets.h"

#define COUNT(hash, name, count) ((void)hv_stores(hash, name, ws_count_sv(aTHX_ count)))

/* Octets of messages for each octet on the wire; undef: there were none. */
static SV *ratio_sv(pTHX_ uint64_t payload, uint64_t wire)
{
    return payload && wire ? newSVnv((NV)payload / (NV)wire) : newSV(0);
}

static HV *traffic(pTHX_ const evws_traffic *counted)
{
    const evws_flow *received = &counted->received, *sent = &counted->sent;
    HV *hash = newHV();

    COUNT(hash, "messages_received", received->messages);
    COUNT(hash, "messages_sent", sent->messages);
    COUNT(hash, "frames_received", received->frames);
    COUNT(hash, "frames_sent", sent->frames);
    COUNT(hash, "payload_received", received->payload);
    COUNT(hash, "payload_sent", sent->payload);
    COUNT(hash, "wire_received", received->wire);
    COUNT(hash, "wire_sent", sent->wire);
    COUNT(hash, "send_queue", counted->queue);
    COUNT(hash, "send_queue_peak", counted->queue_peak);
    COUNT(hash, "messages_dropped", counted->dropped);
    COUNT(hash, "messages_droppable", counted->droppable);
    (void)hv_stores(hash, "compression_received", ratio_sv(aTHX_ received->payload, received->wire));
    (void)hv_stores(hash, "compression_sent", ratio_sv(aTHX_ counted->framed.payload, counted->framed.wire));
    return hash;
}

SV *ws_connection_stats(pTHX_ ws_connection *conn)
{
    evws_traffic counted;
    HV *hash;

    if (conn && conn->last)
        counted = *conn->last;
    else if (!conn || !conn->open || !evws_statistics(conn->ctx->engine, conn->id, &counted))
        return newSV(0);
    hash = traffic(aTHX_ &counted);
    (void)hv_stores(hash, "latency", ws_fact(aTHX_ conn, WS_LATENCY));
    return newRV_noinc((SV *)hash);
}

static HV *closed_by_code(pTHX_ ws_context *ctx, const uint64_t *listener, size_t count)
{
    evws_closed_list closed = evws_closed_by_code(ctx->engine, listener, count);
    HV *hash = newHV();
    size_t i;

    for (i = 0; i < closed.count; i++) {
        char code[8];

        (void)hv_store(hash, code, my_snprintf(code, sizeof code, "%u", (unsigned)closed.item[i].code),
                       ws_count_sv(aTHX_ closed.item[i].connections), 0);
    }
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
            (void)hv_store(hash, cause[i], (I32)strlen(cause[i]), ws_count_sv(aTHX_ rejected[i]), 0);
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
    hash = traffic(aTHX_ &totals.traffic);
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
