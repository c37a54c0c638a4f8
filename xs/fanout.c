/* One message for many connections: prepared messages, broadcasts, topics.
 *
 * Arguments are read first, since that can run Perl code; what the arguments are was copied before.
 */
#include "websockets.h"

#define MAX_TOPIC 65535

/* ---- arguments ---- */

/* Whether reading a value runs no Perl code. */
static bool is_plain(SV *value)
{
    return !SvGMAGICAL(value) && !SvROK(value);
}

/* What an argument is, when the options have been read. Others than those of the options run no code any more. */
static SV *settled(pTHX_ SV *value)
{
    return is_plain(value) ? value : sv_mortalcopy(value);
}

/* A topic's name, as octets: `value` itself if it `stays` as it is, since no Perl code runs before it is used. */
static SV *topic_name(pTHX_ const char *what, SV *value, bool stays)
{
    SV *plain = value;

    if (!stays || !SvPOK(value) || SvUTF8(value) || !is_plain(value)) {
        plain = ws_plain_string(aTHX_ sv_mortalcopy(value));
        if (!plain)
            ws_must_be(aTHX_ what, "topic", "a defined string", value);
        plain = sv_mortalcopy(plain);
        (void)SvPV_force(plain, PL_na);
        if (!sv_utf8_downgrade(plain, TRUE))
            croak("%s: topic must be bytes, and has characters beyond 255", what);
    }
    if (!SvCUR(plain) || SvCUR(plain) > MAX_TOPIC)
        croak("%s: topic must be 1 to %d octets, not %" UVuf, what, MAX_TOPIC, (UV)SvCUR(plain));
    return plain;
}

/* Data as a plain scalar, or a prepared message as it is. `value` is settled. */
static SV *plain_data(pTHX_ const ws_options *o, SV *value)
{
    SV *plain;

    if (ws_is_prepared(aTHX_ value))
        return value;
    if (!SvOK(value))
        croak("%s: data must be defined", o->method);
    /* The text of a reference is never what somebody wants to send to many. */
    plain = ws_plain_scalar(aTHX_ value);
    if (!plain)
        ws_must_be(aTHX_ o->method, "data", "a string or a prepared message", value);
    return plain;
}

/* What is to be sent: a prepared message, or data. `value` is settled. */
static void read_message(pTHX_ const ws_options *o, ws_context *ctx, SV *value, evws_message *out)
{
    evws_bytes text;
    SV *plain = plain_data(aTHX_ o, value);

    Zero(out, 1, evws_message);
    if (ws_is_prepared(aTHX_ plain)) {
        static const ws_option settled[] = { WS_OPT_BINARY, WS_OPT_COMPRESS, WS_OPT_UTF8 };
        size_t i;

        out->prepared = ws_prepared_number(aTHX_ o->method, ctx, plain);
        for (i = 0; i < C_ARRAY_LENGTH(settled); i++)
            if (ws_option_given(aTHX_ o, settled[i]))
                croak("%s: %s was decided when the message was prepared", o->method, ws_option_name(settled[i]));
        return;
    }
    out->is_binary = ws_option_flag(aTHX_ o, WS_OPT_BINARY);
    out->is_compressible = ws_option_flag(aTHX_ o, WS_OPT_COMPRESS);
    text = ws_bytes(aTHX_ plain);
    out->payload = ws_outgoing(aTHX_ o->method, plain, text, !out->is_binary, ws_option_flag(aTHX_ o, WS_OPT_UTF8));
}

/* The id of a connection of this context that is open; 0: it is not. */
static uint64_t id_of(pTHX_ const char *what, const char *name, ws_context *ctx, SV *value)
{
    const ws_connection *conn = ws_connection_of(aTHX_ value);

    if (!conn)
        ws_must_be(aTHX_ what, name, "an EV::Websockets::Connection", value);
    if (conn->ctx != ctx)
        croak("%s: %s is a connection of another context", what, name);
    return conn->open ? conn->id : 0;
}

static uint64_t except(pTHX_ const ws_options *o, ws_context *ctx)
{
    return ws_option_given(aTHX_ o, WS_OPT_EXCEPT) ? id_of(aTHX_ o->method, "except", ctx, o->value[WS_OPT_EXCEPT]) : 0;
}

/* ---- prepared messages and broadcasts ---- */

SV *ws_prepare(pTHX_ ws_context *ctx, SV *data, SV **args, I32 count)
{
    ws_options o;
    evws_message message;
    uint64_t number;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_PREPARE, args, count);
    data = settled(aTHX_ data);
    if (ws_is_prepared(aTHX_ data))
        croak("prepare: the message is prepared already");
    read_message(aTHX_ &o, ctx, data, &message);
    ws_or_croak(aTHX_ ctx, "prepare", NULL, evws_prepare(ws_context_engine(aTHX_ ctx), &message, &number));
    return ws_prepared_new(aTHX_ ctx, number);
}

/* A mortal list of the ids of open connections. */
static SV *ids_of(pTHX_ ws_context *ctx, AV *connections)
{
    SV *list = ws_list(aTHX);
    SSize_t i;

    for (i = 0; i <= av_len(connections); i++) {
        SV *element = ws_element(aTHX_ connections, i);
        uint64_t id = id_of(aTHX_ "broadcast", "a connection", ctx, element);

        if (id)
            WS_LIST_ADD(list, id);
    }
    return list;
}

/* ($data, \@connections, %options) or ($data, to => $topic, %options) */
UV ws_broadcast(pTHX_ ws_context *ctx, SV *data, SV **args, I32 count)
{
    ws_options o;
    evws_message message;
    const bool has_list = count % 2;
    SV *to = has_list ? sv_2mortal(SvREFCNT_inc_simple_NN(args[0])) : NULL;
    SV *ids = NULL;
    SV *topic = NULL;
    uint64_t excluded;
    size_t queued;

    ws_context_engine(aTHX_ ctx);
    if (!has_list && count && ws_connection_of(aTHX_ args[0]))
        ws_must_be(aTHX_ "broadcast", "connections", "an array reference", args[0]);
    ws_options_parse(aTHX_ &o, WS_FOR_BROADCAST, args + has_list, count - has_list);
    if (has_list) {
        to = sv_mortalcopy(to);
        if (!ws_array(to))
            ws_must_be(aTHX_ "broadcast", "connections", "an array reference", to);
        if (ws_option_given(aTHX_ &o, WS_OPT_TO))
            croak("broadcast: to is for a topic, and connections are given");
        (void)sv_2mortal(SvREFCNT_inc_simple_NN(SvRV(to)));
    } else if (!ws_option_given(aTHX_ &o, WS_OPT_TO)) {
        croak("broadcast: connections, or to, must be given");
    } else {
        topic = topic_name(aTHX_ "broadcast", o.value[WS_OPT_TO], FALSE);
    }
    excluded = except(aTHX_ &o, ctx);
    /* The list can be tied: its code runs before the octets of the data are borrowed. */
    if (has_list)
        ids = ids_of(aTHX_ ctx, ws_array(to));
    read_message(aTHX_ &o, ctx, settled(aTHX_ data), &message);
    if (ids) {
        ws_or_croak(aTHX_ ctx, "broadcast", NULL,
                    evws_broadcast(ws_context_engine(aTHX_ ctx), &message, (const uint64_t *)SvPVX(ids),
                                   WS_LIST_COUNT(ids, uint64_t), excluded, &queued));
    } else {
        ws_or_croak(aTHX_ ctx, "broadcast", NULL,
                    evws_broadcast_to(ws_context_engine(aTHX_ ctx), &message, ws_bytes(aTHX_ topic), excluded, &queued));
    }
    WS_CALLED(ctx);
    return queued;
}

/* ---- topics ---- */

static evws_on_slow on_slow(pTHX_ const ws_options *o)
{
    return ws_option_given(aTHX_ o, WS_OPT_ON_SLOW) ? ws_option_word(aTHX_ o, WS_OPT_ON_SLOW) + 1 : EVWS_ON_SLOW_DEFAULT;
}

/* What a program sees of an epoch. */
static SV *epoch_sv(pTHX_ uint64_t epoch)
{
    return newSVpvf("%08x%08x", (unsigned)(epoch >> 32), (unsigned)(epoch & 0xFFFFFFFF));
}

/* [$epoch, $offset], both as mortal strings, which may be empty. */
static void read_pair(pTHX_ const ws_options *o, ws_option which, SV **epoch, SV **offset)
{
    AV *pair = ws_array(o->value[which]);
    int i;

    if (!pair || av_len(pair) != 1)
        ws_option_must_be(aTHX_ o, which, "a reference to an array of an epoch and an offset");
    for (i = 0; i < 2; i++) {
        SV *plain = ws_plain_string(aTHX_ ws_element(aTHX_ pair, i));

        *(i ? offset : epoch) = plain ? plain : sv_2mortal(newSVpvs(""));
    }
}

/* What a topic's, or this publication's, `frame` makes of the data. Mortal. */
static SV *framed(pTHX_ ws_context *ctx, const ws_options *o, SV *frame, SV *topic_sv, SV *data, SV **place)
{
    const evws_bytes topic = ws_bytes(aTHX_ topic_sv);
    SV *arg[3];
    SV *code = SvROK(frame) ? SvRV(frame) : frame;
    evws_position before, after;

    arg[0] = data;
    if (place[0]) {
        arg[1] = place[0];
        arg[2] = place[1];
        data = ws_call(aTHX_ code, arg, 3, G_SCALAR);
    } else {
        if (!evws_topic_position(ws_context_engine(aTHX_ ctx), topic, &before))
            croak("%s: frame is for a topic that has a history: see topic()", o->method);
        arg[1] = sv_2mortal(epoch_sv(aTHX_ before.epoch));
        arg[2] = sv_2mortal(ws_count_sv(aTHX_ before.offset + 1));
        data = ws_call(aTHX_ code, arg, 3, G_SCALAR);
        if (!evws_topic_position(ws_context_engine(aTHX_ ctx), topic, &after)
            || after.epoch != before.epoch || after.offset != before.offset)
            croak("%s: frame has published to the same topic, or changed it", o->method);
    }
    if (!SvOK(data))
        croak("%s: frame must return what is to be sent, not undef", o->method);
    return data;
}

static SV *frame_of(pTHX_ ws_context *ctx, const ws_options *o, SV *topic)
{
    HE *entry;

    if (ws_option_given(aTHX_ o, WS_OPT_FRAME))
        return sv_2mortal(newRV_inc(ws_option_code(aTHX_ o, WS_OPT_FRAME)));
    entry = ctx->frames ? hv_fetch_ent(ctx->frames, topic, 0, 0) : NULL;
    return entry ? sv_mortalcopy(HeVAL(entry)) : NULL;
}

/* Makes the values of a publication that is for a back end plain: each is read once, before anything is kept. What is for
 * this process alone croaks: a back end that does not know it would send to all what is meant for one. */
static SV *plain_values(pTHX_ ws_options *o, SV *data)
{
    static const ws_option flags[] = { WS_OPT_BINARY, WS_OPT_COMPRESS };
    evws_bytes key;
    size_t i;

    if (ws_option_given(aTHX_ o, WS_OPT_ONLY))
        croak("publish: only needs local => 1: it is for a connection of this process");
    if (ws_option_given(aTHX_ o, WS_OPT_POSITION))
        croak("publish: position needs local => 1: the back end counts");
    for (i = 0; i < C_ARRAY_LENGTH(flags); i++)
        if (ws_option_given(aTHX_ o, flags[i]))
            o->value[flags[i]] = boolSV(ws_option_flag(aTHX_ o, flags[i]));
    key = ws_option_octets(aTHX_ o, WS_OPT_KEY);
    if (key.data)
        o->value[WS_OPT_KEY] = newSVpvn_flags((const char *)key.data, key.length, SVs_TEMP);
    return plain_data(aTHX_ o, data);
}

/* Has the back end carry a publication, whose values are plain, after what is checked without one is. */
static SV *carry(pTHX_ ws_context *ctx, ws_options *o, SV *topic, SV *data)
{
    evws_message message;
    SV *arg[2];

    (void)ws_option_code(aTHX_ o, WS_OPT_FRAME);
    (void)except(aTHX_ o, ctx);
    read_message(aTHX_ o, ctx, data, &message);
    /* The octets as they go out: where they arrive, nobody knows what perl had them in. */
    if (!message.prepared && (!SvPOK(data) || SvUTF8(data) || message.payload.data != (const uint8_t *)SvPVX(data)))
        data = newSVpvn_flags((const char *)message.payload.data, message.payload.length, SVs_TEMP);
    o->value[WS_OPT_UTF8] = o->value[WS_OPT_LOCAL] = NULL;
    arg[0] = topic;
    arg[1] = data;
    return ws_must_ask_back_end(aTHX_ ctx, "publish", arg, 2, o);
}

/* How many subscribers it is for; a back end answers as it likes. */
SV *ws_publish(pTHX_ ws_context *ctx, SV *topic_sv, SV *data, SV **args, I32 count)
{
    ws_options o;
    evws_message message;
    evws_publish_options options;
    SV *place[2] = { NULL, NULL };          /* what its count is, if it is counted elsewhere */
    SV *topic, *frame;
    size_t subscribers;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_PUBLISH, args, count);
    topic = topic_name(aTHX_ "publish", topic_sv, !count && !ctx->back_end && !ctx->frames && is_plain(data));
    data = settled(aTHX_ data);
    if (ws_has_back_end(aTHX_ ctx, &o)) {
        data = plain_values(aTHX_ &o, data);
        /* The code behind a value may have taken the back end away. */
        if (ctx->back_end)
            return SvREFCNT_inc(carry(aTHX_ ctx, &o, topic, data));
    }
    Zero(&options, 1, evws_publish_options);
    options.key = ws_option_octets(aTHX_ &o, WS_OPT_KEY);
    options.is_recorded = !ws_option_given(aTHX_ &o, WS_OPT_POSITION);
    if (!options.is_recorded)
        read_pair(aTHX_ &o, WS_OPT_POSITION, &place[0], &place[1]);
    frame = frame_of(aTHX_ ctx, &o, topic);
    if (frame) {
        if (ws_is_prepared(aTHX_ data))
            croak("publish: a message that is prepared cannot be framed");
        if (!SvOK(data))
            croak("publish: data must be defined");
        data = framed(aTHX_ ctx, &o, frame, topic, sv_mortalcopy(data), place);
    }
    read_message(aTHX_ &o, ctx, data, &message);
    options.except = except(aTHX_ &o, ctx);
    if (ws_option_given(aTHX_ &o, WS_OPT_ONLY)) {
        const uint64_t only = id_of(aTHX_ "publish", "only", ctx, o.value[WS_OPT_ONLY]);

        ws_or_croak(aTHX_ ctx, "publish", NULL, evws_broadcast(ws_context_engine(aTHX_ ctx), &message, &only, only ? 1 : 0,
                                                  options.except, &subscribers));
        WS_CALLED(ctx);
        return newSVuv(subscribers);
    }
    ws_or_croak(aTHX_ ctx, "publish", NULL,
         evws_publish(ws_context_engine(aTHX_ ctx), ws_bytes(aTHX_ topic), &message, &options, &subscribers));
    WS_CALLED(ctx);
    return newSVuv(subscribers);
}

void ws_topic(pTHX_ ws_context *ctx, SV *topic_sv, SV **args, I32 count)
{
    ws_options o;
    evws_topic_options options;
    SV *topic, *frame;

    ws_context_engine(aTHX_ ctx);
    ws_options_parse(aTHX_ &o, WS_FOR_TOPIC, args, count);
    topic = topic_name(aTHX_ "topic", topic_sv, !count);
    Zero(&options, 1, evws_topic_options);
    ws_options_read(aTHX_ &o, WS_IN_topic_options, &options);
    frame = ws_option_code(aTHX_ &o, WS_OPT_FRAME);
    options.is_recorded = frame || ws_option_given(aTHX_ &o, WS_OPT_HISTORY);
    options.on_slow = on_slow(aTHX_ &o);
    if (!ws_option_given(aTHX_ &o, WS_OPT_HISTORY) && ws_option_given(aTHX_ &o, WS_OPT_MAX_AGE))
        croak("topic: max_age is for what history keeps, and there is no history");
    ws_or_croak(aTHX_ ctx, "topic", NULL, evws_topic_set(ws_context_engine(aTHX_ ctx), ws_bytes(aTHX_ topic), &options));
    /* What was there before is freed when this has returned: that can run code. */
    if (ctx->frames)
        (void)hv_delete_ent(ctx->frames, topic, 0, 0);
    if (frame) {
        if (!ctx->frames)
            ctx->frames = newHV();
        (void)hv_store_ent(ctx->frames, topic, newRV_inc(frame), 0);
    }
    if (ws_option_given(aTHX_ &o, WS_OPT_HISTORY))
        o.value[WS_OPT_HISTORY] = sv_2mortal(newSVuv(options.history));
    if (ws_option_given(aTHX_ &o, WS_OPT_MAX_AGE))
        o.value[WS_OPT_MAX_AGE] = sv_2mortal(newSVnv(options.max_age));
    (void)ws_ask_back_end(aTHX_ ctx, "topic_set", &topic, 1, &o);
}

/* [$epoch, $offset]; undef: nobody counts. */
SV *ws_topic_position(pTHX_ ws_context *ctx, SV *topic_sv)
{
    SV *topic = topic_name(aTHX_ "position", topic_sv, TRUE);
    SV *answer = ctx ? ws_ask_back_end(aTHX_ ctx, "position", &topic, 1, NULL) : NULL;
    evws_position position;
    AV *pair;

    if (answer)
        return SvREFCNT_inc_simple_NN(answer);
    if (!evws_topic_position(ws_context_engine(aTHX_ ctx), ws_bytes(aTHX_ topic), &position))
        return newSV(0);
    pair = newAV();
    av_push(pair, epoch_sv(aTHX_ position.epoch));
    av_push(pair, ws_count_sv(aTHX_ position.offset));
    return newRV_noinc((SV *)pair);
}

UV ws_subscribers(pTHX_ ws_context *ctx, SV *topic_sv)
{
    SV *topic = topic_name(aTHX_ "subscribers", topic_sv, TRUE);

    return evws_subscribers(ws_context_engine(aTHX_ ctx), ws_bytes(aTHX_ topic));
}

static AV *names(pTHX_ ws_context *ctx, uint64_t id)
{
    AV *list = (AV *)sv_2mortal((SV *)newAV());
    evws_strings topics = evws_topics(ctx->engine, id);
    size_t i;

    for (i = 0; i < topics.count; i++)
        av_push(list, ws_text_sv(aTHX_ topics.item[i]));
    return list;
}

AV *ws_topics(pTHX_ ws_context *ctx)
{
    ws_context_engine(aTHX_ ctx);
    return names(aTHX_ ctx, 0);
}

AV *ws_connection_topics(pTHX_ ws_connection *conn)
{
    return conn && conn->open ? names(aTHX_ conn->ctx, conn->id) : (AV *)sv_2mortal((SV *)newAV());
}

/* The code behind one argument can take the others away. The invocant, for as long as the call. */
static SV *held(pTHX_ SV *self, SV *topic)
{
    (void)sv_2mortal(SvREFCNT_inc_simple_NN(topic));
    return sv_mortalcopy(self);
}

/* TRUE: nothing that it is to have was lost. */
bool ws_subscribe(pTHX_ SV *self, CV *method, SV *topic_sv, SV **args, I32 count)
{
    ws_options o;
    ws_connection *conn;
    evws_position since;
    evws_on_slow slow;
    SV *topic, *epoch, *offset;
    bool has_since, is_local, is_complete;

    if (count || SvGMAGICAL(self) || !is_plain(topic_sv))
        self = held(aTHX_ self, topic_sv);
    ws_options_parse(aTHX_ &o, WS_FOR_SUBSCRIBE, args, count);
    topic = topic_name(aTHX_ "subscribe", topic_sv, !count);
    slow = on_slow(aTHX_ &o);
    is_local = ws_option_flag(aTHX_ &o, WS_OPT_LOCAL);
    has_since = ws_option_given(aTHX_ &o, WS_OPT_SINCE);
    if (has_since) {
        read_pair(aTHX_ &o, WS_OPT_SINCE, &epoch, &offset);
        since = evws_position_of(ws_bytes(aTHX_ epoch), ws_bytes(aTHX_ offset));
    }
    conn = ws_open_connection(aTHX_ self, method);
    if (has_since && conn->ctx->back_end && !is_local) {
        SV *arg[3], *answer;

        arg[0] = self;
        arg[1] = topic;
        arg[2] = o.value[WS_OPT_SINCE];
        /* Old perls' SvTRUE reads its argument several times. */
        answer = ws_must_ask_back_end(aTHX_ conn->ctx, "resume", arg, 3, &o);
        return cBOOL(SvTRUE(answer));
    }
    ws_sent(aTHX_ conn, evws_subscribe(conn->ctx->engine, conn->id, ws_bytes(aTHX_ topic), slow, has_since ? &since : NULL,
                                       &is_complete));
    return is_complete;
}

bool ws_unsubscribe(pTHX_ SV *self, CV *method, SV *topic_sv)
{
    SV *topic;
    ws_connection *conn;
    bool was;

    if (SvGMAGICAL(self) || !is_plain(topic_sv))
        self = held(aTHX_ self, topic_sv);
    topic = topic_name(aTHX_ "unsubscribe", topic_sv, TRUE);
    conn = ws_connection_from_sv(aTHX_ self, method);
    if (!conn || !conn->open)
        return FALSE;
    was = evws_unsubscribe(conn->ctx->engine, conn->id, ws_bytes(aTHX_ topic));
    WS_CALLED(conn->ctx);
    return was;
}
