//! What becomes of messages for which there is no room, how many they are, and what finding them costs.

use std::io::Read;
use std::rc::Rc;

use evws_proto::connection::{FrameKind, Prepared};
use evws_proto::Role;

use super::{Behind, Key, OnSlow, MANY, SHARED_FROM};
use crate::event::{Event, Id};
use crate::limits::{QueueLimits, WhenFull};
use crate::traffic::bench::Bench;
use crate::traffic::fanout::tests::{crowd, flush, publish, read, TOPIC};
use crate::traffic::fanout::PublishOptions;
use crate::traffic::SendError;

fn subscribe(bench: &mut Bench, id: Id, on_slow: OnSlow) {
    bench
        .with(|traffic, shared| traffic.subscribe(id, TOPIC, Some(on_slow), None, shared.reactor))
        .unwrap();
}

fn publish_for(bench: &mut Bench, key: u32, size: usize) {
    let message = Rc::new(Prepared::new(true, false, &vec![1; size]).unwrap());
    let options = PublishOptions {
        key: &key.to_be_bytes(),
        ..PublishOptions::default()
    };
    bench.with(|traffic, shared| {
        traffic.publish(TOPIC, &message, &options, shared.reactor);
        traffic.settle(shared.reactor);
    });
}

// When the size of the messages had the queue above its limit with one and below it with the next, every second one
// searched the whole queue for what was outdated.
#[test]
fn a_queue_about_its_limit_is_not_searched_for_each_message() {
    const KEYS: u32 = 2000;
    let mut bench = Bench::new();
    let limit = u64::from(KEYS) * (1004 + 128);
    bench.limits.send_queue = QueueLimits::new(limit, 0, 0, WhenFull::Refuse);
    let (id, _peer) = bench.connected(Role::Server);
    subscribe(&mut bench, id, OnSlow::Latest);
    for key in 0..KEYS {
        publish_for(&mut bench, key, 1000);
    }
    let looked_at = |bench: &mut Bench| bench.traffic.links.get(id).unwrap().queue.looked_at();
    let before = looked_at(&mut bench);
    let rounds = 4000;
    for round in 0..rounds {
        publish_for(&mut bench, round % KEYS, 900);
        publish_for(&mut bench, (round + 7) % KEYS, 1100);
    }
    let dropped = bench.traffic.statistics(id).unwrap().dropped;
    assert!(dropped > u64::from(rounds), "{dropped} were dropped");
    let looks = looked_at(&mut bench) - before;
    let each = looks / u64::from(2 * rounds);
    assert!(each < 10, "{each} chunks were looked at for a message");
}

// A message of one octet counted as three towards the limit, and took a hundred: a reader that was slow held as many times the
// memory that it might.
#[test]
fn the_shortest_messages_do_not_fill_a_queue_beyond_its_limit() {
    for policy in [OnSlow::DropOld, OnSlow::Latest] {
        let mut bench = Bench::new();
        bench.limits.send_queue = QueueLimits::new(100_000, 0, 0, WhenFull::Refuse);
        let (id, mut peer) = bench.connected(Role::Server);
        peer.set_nonblocking(true).unwrap();
        subscribe(&mut bench, id, policy);
        for key in 0..50_000 {
            publish_for(&mut bench, key % 2000, 1);
        }
        let counted = bench.traffic.statistics(id).unwrap();
        let most = if policy == OnSlow::Latest { 2000 } else { 1000 };
        assert!(counted.droppable <= most, "{policy:?}: {counted:?}");
        assert_eq!(counted.dropped + counted.droppable, 50_000);
        // The marks are of the same kind: whoever goes by them does not send either.
        assert!(!bench.traffic.is_writable(id));
        flush(&mut bench);
        read(&mut peer);
        assert!(bench.traffic.is_writable(id));
    }
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(100_000, 0, 0, WhenFull::Refuse);
    let (id, _peer) = bench.connected(Role::Server);
    subscribe(&mut bench, id, OnSlow::DropNew);
    begin_fragments(&mut bench, id);
    for key in 0..50_000 {
        publish_for(&mut bench, key, 1);
    }
    let counted = bench.traffic.statistics(id).unwrap();
    assert!(counted.droppable < 1000, "what waits for the last fragment");
}

fn begin_fragments(bench: &mut Bench, id: Id) {
    send_fragment(bench, id, false);
}

fn send_fragment(bench: &mut Bench, id: Id, last: bool) {
    let kind = FrameKind::Fragment { binary: true, last };
    bench.with(|traffic, shared| traffic.send(id, kind, b"a", shared).unwrap());
}

/// How many messages a stream of short frames has; the Close is none.
fn count_messages(mut stream: &[u8]) -> u64 {
    let mut count = 0;
    while let Ok(Some((header, length))) = evws_proto::frame::parse_header(stream) {
        count += u64::from(header.fin && header.opcode != evws_proto::frame::Opcode::Close);
        stream = &stream[length + header.payload_len as usize..];
    }
    count
}

// A message that was dropped after it had been queued was counted twice: as sent, and as dropped.
#[test]
fn every_message_is_sent_or_dropped_or_waits() {
    for policy in [
        OnSlow::Close,
        OnSlow::DropNew,
        OnSlow::DropOld,
        OnSlow::Latest,
    ] {
        let mut bench = Bench::new();
        bench.limits.send_queue = QueueLimits::new(20_000, 0, 0, WhenFull::Close);
        let (id, mut peer) = bench.connected(Role::Server);
        peer.set_nonblocking(true).unwrap();
        subscribe(&mut bench, id, policy);
        let (mut given, mut got, mut sent) = (0, Vec::new(), 0);
        let check = |bench: &mut Bench, given: u64, sent: &mut u64| {
            let counted = bench.traffic.statistics(id).unwrap();
            let sum = counted.sent.messages + counted.dropped + counted.droppable;
            assert_eq!(sum, given, "{policy:?}: {counted:?}");
            assert!(counted.sent.messages >= *sent, "it only grows");
            assert_eq!(counted.sent.payload, counted.sent.messages * 500);
            let closes = u64::from(bench.traffic.subscribers(TOPIC) == 0);
            let frames = counted.sent.frames - counted.sent.messages;
            assert!(frames <= closes, "{policy:?}: {counted:?}");
            *sent = counted.sent.messages;
            counted
        };
        for round in 0..1000 {
            for _ in 0..3 {
                publish_for(&mut bench, round % 5, 500);
                given += 1;
            }
            check(&mut bench, given, &mut sent);
            flush(&mut bench);
            if round > 800 && round % 10 == 0 {
                let mut part = vec![0; 5000];
                let count = peer.read(&mut part).unwrap();
                got.extend_from_slice(&part[..count]);
                bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
            }
            check(&mut bench, given, &mut sent);
            if bench.traffic.subscribers(TOPIC) == 0 {
                break;
            }
        }
        loop {
            bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
            let part = read(&mut peer);
            got.extend_from_slice(&part);
            if part.is_empty() {
                break;
            }
        }
        let counted = check(&mut bench, given, &mut sent);
        assert_eq!(
            (counted.droppable, counted.sent.messages),
            (0, count_messages(&got))
        );
        assert!(counted.dropped > 0);
    }
}

// What a close, or the end of a fragmented message, drops of that which has waited for it.
#[test]
fn what_is_dropped_after_it_was_held_is_told_and_counted() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Drop);
    bench.wants.dropped = true;
    let (id, mut peer) = crowd(&mut bench, 1).remove(0);
    begin_fragments(&mut bench, id);
    for _ in 0..4 {
        publish(&mut bench, &[1; 100]);
    }
    flush(&mut bench);
    assert_eq!(bench.traffic.statistics(id).unwrap().droppable, 4);
    assert_eq!(bench.events(), []);
    // Two more of these fill the queue up, before what is held has its turn.
    for _ in 0..2 {
        let kind = FrameKind::Fragment {
            binary: true,
            last: false,
        };
        bench.with(|traffic, shared| traffic.send(id, kind, &[2; 400], shared).unwrap());
    }
    send_fragment(&mut bench, id, true);
    let counted = bench.traffic.statistics(id).unwrap();
    assert_eq!((counted.droppable, counted.sent.messages), (0, 3));
    assert_eq!(counted.dropped, 2);
    flush(&mut bench);
    assert_eq!(bench.events(), [Event::Dropped { id, messages: 0 }]);
    assert_eq!(bench.traffic.take_untold(id), 2);
    assert_eq!(count_messages(&read(&mut peer)), 3);
}

/// The time for which the queue was not empty is no reason to look through what is known of keys for each message, nor to keep
/// all of it.
#[test]
fn what_is_known_of_keys_is_looked_through_seldom_and_does_not_grow() {
    const COUNT: u64 = 10_000;
    let key = |number: u64| -> Key { (1, Rc::from(&number.to_be_bytes()[..])) };
    let (mut keys, mut outdated) = (Behind::default(), Behind::default());
    let (mut of_keys, mut of_outdated) = (vec![0], vec![0]);
    // Nothing goes out.
    for number in 0..COUNT {
        keys.note_newest(&key(number), number, 0);
        outdated.note_newest(&key(7), number, 0);
        if number < MANY as u64 {
            assert_eq!(keys.many, MANY, "so many are known without a look");
        }
        if (1..=MANY as u64).contains(&number) {
            assert_eq!(outdated.many_outdated, MANY);
        }
        of_keys.push(keys.many);
        of_outdated.push(outdated.many_outdated);
    }
    for looks in [&mut of_keys, &mut of_outdated] {
        let most = looks[looks.len() - 1];
        assert!(most as u64 >= COUNT - 1);
        looks.dedup();
        assert!(looks.len() < 20, "{} looks", looks.len());
    }
    assert_eq!(keys.newest.len() as u64, COUNT);
    assert_eq!(outdated.outdated.len() as u64, COUNT - 1);
    // All but the last one have gone out.
    for number in COUNT..4 * COUNT {
        keys.note_newest(&key(number), number, number - 1);
        outdated.note_newest(&key(7), number, number - 1);
    }
    assert!(keys.newest.len() <= MANY + 1);
    assert!(outdated.outdated.len() <= MANY + 1);
}

/// Of a queue that was long nothing is left, nor of the subscription that it was for.
#[test]
fn who_is_not_behind_any_more_needs_no_memory_for_it() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Refuse);
    let (id, _peer) = bench.connected(Role::Server);
    subscribe(&mut bench, id, OnSlow::Latest);
    for key in 0..5 {
        publish_for(&mut bench, key, 500);
    }
    let is_behind = |bench: &Bench| bench.traffic.links.get(id).unwrap().find_behind().is_some();
    assert!(is_behind(&bench));
    flush(&mut bench);
    assert!(!is_behind(&bench));
    bench.with(|traffic, shared| traffic.unsubscribe(id, TOPIC, shared.reactor));
    assert!(bench.traffic.links.get(id).unwrap().subscriber.is_none());
}

// Topics had one number, so that what was published to one had what waited of another dropped, if it had the same key.
#[test]
fn a_key_is_one_of_its_topic() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Refuse);
    let (id, _peer) = bench.connected(Role::Server);
    for name in [TOPIC, b"other"] {
        bench.with(|traffic, shared| {
            let on_slow = Some(OnSlow::Latest);
            let subscribed = traffic.subscribe(id, name, on_slow, None, shared.reactor);
            assert_eq!(subscribed, Ok(true));
        });
    }
    publish_for(&mut bench, 7, 1000);
    let message = Rc::new(Prepared::new(true, false, b"x").unwrap());
    let options = PublishOptions {
        key: &7u32.to_be_bytes(),
        ..PublishOptions::default()
    };
    bench.with(|traffic, shared| {
        traffic.publish(b"other", &message, &options, shared.reactor);
        traffic.settle(shared.reactor);
    });
    let counts = |bench: &Bench| {
        let counted = bench.traffic.statistics(id).unwrap();
        (counted.droppable, counted.dropped)
    };
    assert_eq!(counts(&bench), (2, 0));
    publish_for(&mut bench, 7, 1000);
    assert_eq!(counts(&bench), (2, 1));
}

/// RFC 6455 section 5.1: what a client sends is masked.
#[test]
fn a_client_that_has_subscribed_sends_masked_frames() {
    let mut bench = Bench::new();
    bench.traffic.prepare_masks();
    let (id, mut peer) = bench.connected(Role::Client);
    subscribe(&mut bench, id, OnSlow::Close);
    publish(&mut bench, b"abc");
    flush(&mut bench);
    let mut frame = [0; 9];
    peer.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..2], [0x82, 0x83]);
    let payload: Vec<u8> = (6..9).map(|at| frame[at] ^ frame[at - 4]).collect();
    assert_eq!(payload, b"abc");
}

/// What is long is not copied for each of ten thousand subscribers, and what is short takes no more than its octets.
#[test]
fn queues_share_long_frames_and_copy_short_ones() {
    for (length, shared_by) in [(1000, 3), (SHARED_FROM - 4, 3), (SHARED_FROM - 5, 0)] {
        let mut bench = Bench::new();
        let _crowd = crowd(&mut bench, 3);
        let message = Rc::new(Prepared::new(true, false, &vec![0; length]).unwrap());
        let frame = message.frame(None, &bench.traffic.codecs);
        let before = Rc::strong_count(&frame);
        bench.with(|traffic, shared| {
            let options = PublishOptions::default();
            traffic.publish(TOPIC, &message, &options, shared.reactor);
            traffic.settle(shared.reactor);
        });
        assert_eq!(Rc::strong_count(&frame) - before, shared_by, "{length}");
    }
}

/// It is the newest messages that somebody wants who has the old ones dropped.
#[test]
fn the_oldest_are_dropped_first() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(3000, 0, 0, WhenFull::Refuse);
    let (id, mut peer) = bench.connected(Role::Server);
    subscribe(&mut bench, id, OnSlow::DropOld);
    for size in 1000..1020 {
        publish_for(&mut bench, 0, size);
    }
    flush(&mut bench);
    peer.set_nonblocking(true).unwrap();
    let bytes = read(&mut peer);
    let (mut stream, mut sizes) = (&bytes[..], Vec::new());
    while let Ok(Some((header, length))) = evws_proto::frame::parse_header(stream) {
        sizes.push(header.payload_len);
        stream = &stream[length + header.payload_len as usize..];
    }
    assert_eq!(sizes, [1017, 1018, 1019]);
}

/// What is published within a fragmented message waits, and is too much when it is too much: for a connection that is not to
/// lose any message, and for one that may.
#[test]
fn what_waits_for_the_end_of_a_message_has_the_limit_of_the_queue() {
    for (policy, is_open) in [(OnSlow::Close, false), (OnSlow::DropNew, true)] {
        let mut bench = Bench::new();
        bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Drop);
        let (id, _peer) = bench.connected(Role::Server);
        subscribe(&mut bench, id, policy);
        begin_fragments(&mut bench, id);
        for key in 0..2 {
            publish_for(&mut bench, key, 500);
        }
        let counted = bench.traffic.statistics(id).unwrap();
        assert_eq!((counted.droppable, counted.dropped), (2, 0));
        publish_for(&mut bench, 2, 500);
        assert_eq!(bench.traffic.statistics(id).unwrap().dropped, 1);
        flush(&mut bench);
        assert_eq!(bench.traffic.subscribers(TOPIC) == 1, is_open);
        assert_eq!(bench.events().is_empty(), is_open);
    }
}

/// Of what has waited all that is lost counts, when the first of it is what a connection fails for.
#[test]
fn what_has_waited_behind_a_message_that_was_too_much_is_dropped() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Drop);
    let (id, _peer) = bench.connected(Role::Server);
    subscribe(&mut bench, id, OnSlow::Close);
    begin_fragments(&mut bench, id);
    for key in 0..3 {
        publish_for(&mut bench, key, 200);
    }
    for _ in 0..2 {
        let kind = FrameKind::Fragment {
            binary: true,
            last: false,
        };
        bench.with(|traffic, shared| traffic.send(id, kind, &[2; 500], shared).unwrap());
    }
    send_fragment(&mut bench, id, true);
    let counted = bench.traffic.statistics(id).unwrap();
    assert_eq!((counted.sent.messages, counted.dropped), (1, 3));
}

/// Whoever sends a prepared message, or broadcasts it, has it counted as dropped when the connection fails for it.
#[test]
fn a_prepared_message_that_a_connection_fails_for_is_dropped() {
    for is_broadcast in [false, true] {
        let mut bench = Bench::new();
        bench.limits.send_queue = QueueLimits::new(100, 0, 0, WhenFull::Close);
        let (id, _peer) = bench.connected(Role::Server);
        let message = Rc::new(Prepared::new(true, false, &[0; 200]).unwrap());
        for expected in [Ok(()), Err(SendError::Dropped)] {
            bench.with(|traffic, shared| {
                if is_broadcast {
                    let count = traffic.broadcast(&message, &[id], 0, shared.reactor);
                    assert_eq!(count, usize::from(expected.is_ok()));
                } else {
                    assert_eq!(traffic.send_prepared(id, &message, shared), expected);
                }
            });
        }
        let counted = bench.traffic.statistics(id).unwrap();
        assert_eq!((counted.sent.messages, counted.dropped), (1, 1));
    }
}
