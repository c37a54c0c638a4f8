//! What becomes of messages for which there is no room, how many they are, and what finding them costs.

use std::io::Read;
use std::rc::Rc;

use evws_proto::connection::{FrameKind, Prepared};
use evws_proto::Role;

use super::OnSlow;
use crate::event::{Event, Id};
use crate::limits::{QueueLimits, WhenFull};
use crate::traffic::bench::Bench;
use crate::traffic::fanout::tests::{crowd, flush, publish, read, TOPIC};
use crate::traffic::fanout::PublishOptions;

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
            assert_eq!(
                counted.sent.payload % 1000,
                counted.sent.messages % 1000 * 500 % 1000
            );
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
