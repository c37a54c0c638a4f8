//! One message for many connections: prepared messages, broadcasts, topics.

use std::time::Duration;

use evws_engine::{FanoutMessage, OnSlow, Position, PublishOptions, TopicOptions};

use crate::context::evws_context;
use crate::guard::{ask, call, drive, given, put, Unanswered};
use crate::types::*;

/// What becomes of published messages that a subscriber is too slow for: one of `EVWS_ON_SLOW_*`.
pub type evws_on_slow = u32;
/// What the topic says, or else the connection's `send_queue_policy`.
pub const EVWS_ON_SLOW_DEFAULT: evws_on_slow = 0;
/// The connection fails with 1013.
pub const EVWS_ON_SLOW_CLOSE: evws_on_slow = 1;
/// The new message is dropped.
pub const EVWS_ON_SLOW_DROP_NEW: evws_on_slow = 2;
/// The oldest published messages that wait are dropped.
pub const EVWS_ON_SLOW_DROP_OLD: evws_on_slow = 3;
/// Of the messages with one key the latest stays.
pub const EVWS_ON_SLOW_LATEST: evws_on_slow = 4;

/// A message for many connections. Its octets are copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_message {
    /// The number of one that was prepared, and the other fields do not count; 0: it is what they say.
    pub prepared: u64,
    /// Lent for the call.
    pub payload: evws_bytes,
    /// Whether it is binary, or else text.
    pub is_binary: bool,
    /// Whether it goes out compressed where that was agreed on.
    pub is_compressible: bool,
}

/// Where a topic stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_position {
    /// Which count it is; never 0.
    pub epoch: u64,
    /// The number of the newest message; 0: there was none.
    pub offset: u64,
}

impl From<Position> for evws_position {
    fn from(Position { epoch, offset }: Position) -> Self {
        evws_position { epoch, offset }
    }
}

/// A position as a program has it from somebody else: the epoch in 16 hexadecimal digits, the offset in decimal ones. Of
/// anything else a place that nobody has been to.
///
/// # Safety
/// `epoch` and `offset` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_position_of(epoch: evws_bytes, offset: evws_bytes) -> evws_position {
    // SAFETY: as promised above.
    unsafe { Position::parse(epoch.borrow(), offset.borrow()) }.into()
}

/// What is said of one publication.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_publish_options {
    /// A connection that does not get it; 0: none.
    pub except: u64,
    /// Its key for subscribers that want the latest of each. Lent for the call.
    pub key: evws_bytes,
    /// Whether it has its place in the topic's count and history.
    pub is_recorded: bool,
}

/// What a topic does, besides having subscribers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_topic_options {
    /// Whether its messages are counted; the next two count only then.
    pub is_recorded: bool,
    /// How many of the latest messages are kept.
    pub history: u64,
    /// For how many seconds; 0: any time.
    pub max_age: f64,
    /// What slow subscribers get that have not said so themselves.
    pub on_slow: evws_on_slow,
}

fn on_slow(given: evws_on_slow) -> Result<Option<OnSlow>, Unanswered> {
    Ok(match given {
        EVWS_ON_SLOW_DEFAULT => None,
        EVWS_ON_SLOW_CLOSE => Some(OnSlow::Close),
        EVWS_ON_SLOW_DROP_NEW => Some(OnSlow::DropNew),
        EVWS_ON_SLOW_DROP_OLD => Some(OnSlow::DropOld),
        EVWS_ON_SLOW_LATEST => Some(OnSlow::Latest),
        _ => return Err(Unanswered::Status(EVWS_STATUS_INVALID)),
    })
}

/// # Safety
/// `message` is null, or may be read with its payload as long as the result is used.
unsafe fn message<'a>(message: *const evws_message) -> Result<FanoutMessage<'a>, Unanswered> {
    // SAFETY: the caller's promise.
    let message = unsafe { given(message) }?;
    Ok(match message.prepared {
        0 => FanoutMessage::New {
            is_binary: message.is_binary,
            is_compressible: message.is_compressible,
            // SAFETY: the caller's promise.
            payload: unsafe { message.payload.borrow() },
        },
        number => FanoutMessage::Prepared(number),
    })
}

/// Frames a message once for many connections, and writes its number, which is never 0, to `out`. The library keeps it until
/// `evws_prepared_free` or the end of the context. `EVWS_STATUS_NO_MEMORY` if it does not fit.
///
/// # Safety
/// `context` is live or null; `data` may be read with its payload; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_prepare(
    context: *mut evws_context,
    data: *const evws_message,
    out: *mut u64,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(out), |engine| match message(data)? {
            FanoutMessage::Prepared(number) => Ok(number),
            FanoutMessage::New {
                is_binary,
                is_compressible,
                payload,
            } => Ok(engine.prepare(is_binary, is_compressible, payload)?),
        })
    }
}

/// Forgets a prepared message. Queues that have it keep it as long as they need it.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_prepared_free(context: *mut evws_context, prepared: u64) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.forget_prepared(prepared)) }
}

/// Queues a prepared message for one connection: as `evws_send`, and `EVWS_STATUS_INVALID` if there is no such message.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_send_prepared(
    context: *mut evws_context,
    id: u64,
    prepared: u64,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            match engine.send_prepared(id, prepared)? {
                true => Ok(()),
                false => Err(Unanswered::Status(EVWS_STATUS_INVALID)),
            }
        })
    }
}

/// Queues a message for `count` connections, as their `send_queue_policy` says, and writes to `out` for how many it was
/// queued. Those that are not open, and `except`, do not get it; an id that is there twice counts once.
///
/// # Safety
/// `context` is live or null; `data` may be read with its payload; `ids` is null or has `count` ids; `out` is null or may be
/// written to.
#[no_mangle]
pub unsafe extern "C" fn evws_broadcast(
    context: *mut evws_context,
    data: *const evws_message,
    ids: *const u64,
    count: usize,
    except: u64,
    out: *mut usize,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(out), |engine| {
            let ids = slice_or_empty(ids, count);
            Ok(engine.broadcast(message(data)?, ids, except)?)
        })
    }
}

/// The same for those who have subscribed to a topic.
///
/// # Safety
/// `context` is live or null; `data` and `topic` may be read; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_broadcast_to(
    context: *mut evws_context,
    data: *const evws_message,
    topic: evws_bytes,
    except: u64,
    out: *mut usize,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(out), |engine| {
            Ok(engine.broadcast_to(message(data)?, topic.borrow(), except)?)
        })
    }
}

/// Publishes a message to those who have subscribed to a topic, and writes to `out` how many they are. It is delivered by
/// the next `evws_flush`, or by a call before that could tell the difference.
///
/// # Safety
/// `context` is live or null; `topic`, `data` and `options` may be read; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_publish(
    context: *mut evws_context,
    topic: evws_bytes,
    data: *const evws_message,
    options: *const evws_publish_options,
    out: *mut usize,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(out), |engine| {
            let options = given(options)?;
            let options = PublishOptions {
                except: options.except,
                key: options.key.borrow(),
                is_recorded: options.is_recorded,
            };
            Ok(engine.publish(topic.borrow(), message(data)?, &options)?)
        })
    }
}

/// Subscribes a connection to a topic, or changes what becomes of messages that it is too slow for. With `since`, which may
/// be NULL, it is first sent what was published after that. Writes false to `out` if not all of that is there any
/// more: then it gets nothing of it, and has subscribed all the same. `EVWS_STATUS_NOT_OPEN` unless the connection is
/// connected.
///
/// # Safety
/// `context` is live or null; `topic` may be read; `since` is null or may be read; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_subscribe(
    context: *mut evws_context,
    id: u64,
    topic: evws_bytes,
    slow: evws_on_slow,
    since: *const evws_position,
    out: *mut bool,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(out), |engine| {
            let since = since.as_ref().map(|since| Position {
                epoch: since.epoch,
                offset: since.offset,
            });
            Ok(engine.subscribe(id, topic.borrow(), on_slow(slow)?, since)?)
        })
    }
}

/// Ends a subscription. Returns whether there was one.
///
/// # Safety
/// `context` is live or null; `topic` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_unsubscribe(
    context: *mut evws_context,
    id: u64,
    topic: evws_bytes,
) -> bool {
    // SAFETY: as promised above.
    unsafe {
        drive(context, false, |engine| {
            engine.unsubscribe(id, topic.borrow())
        })
    }
}

/// Says what a topic does besides having subscribers. Without subscribers and without being recorded it is forgotten.
///
/// # Safety
/// `context` is live or null; `topic` and `options` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_topic_set(
    context: *mut evws_context,
    topic: evws_bytes,
    options: *const evws_topic_options,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            let options = given(options)?;
            let max_age = Duration::try_from_secs_f64(options.max_age).ok();
            let options = TopicOptions {
                is_recorded: options.is_recorded,
                history: usize::try_from(options.history).unwrap_or(usize::MAX),
                max_age: max_age.filter(|age| !age.is_zero()),
                on_slow: on_slow(options.on_slow)?,
            };
            engine.set_topic(topic.borrow(), &options);
            Ok(())
        })
    }
}

/// Writes where a topic stands. Returns false if nobody counts its messages.
///
/// # Safety
/// `context` is live or null; `topic` may be read; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_topic_position(
    context: *const evws_context,
    topic: evws_bytes,
    out: *mut evws_position,
) -> bool {
    // SAFETY: as promised above.
    unsafe {
        let position = ask(context, |engine| engine.position(topic.borrow()));
        put(position.map(evws_position::from), out)
    }
}

/// How many connections have subscribed to a topic.
///
/// # Safety
/// `context` is live or null; `topic` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_subscribers(
    context: *const evws_context,
    topic: evws_bytes,
) -> usize {
    // SAFETY: as promised above.
    unsafe { ask(context, |engine| Some(engine.subscribers(topic.borrow()))) }.unwrap_or(0)
}

/// The topics that have subscribers or are recorded, or with an id other than 0 those that a connection has subscribed to.
/// Lent until the next call on the context.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_topics(context: *mut evws_context, id: u64) -> evws_strings {
    let of = (id != 0).then_some(id);
    // SAFETY: as promised above; what came out of the engine is kept beside it.
    unsafe {
        let topics = ask(context, |engine| Some(engine.topics(of)));
        let (Some(topics), Some(context)) = (topics, context.as_mut()) else {
            return evws_strings::NONE;
        };
        context.topic_names = topics.iter().map(evws_bytes::lend).collect();
        context.topics = topics;
        evws_strings::lend(&context.topic_names)
    }
}

/// Whether `EVWS_EVENT_TOPIC_USED` is wanted. Topics that have subscribers at that time are told of at once.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_topics_watch(context: *mut evws_context, is_wanted: bool) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.watch_topics(is_wanted)) }
}
