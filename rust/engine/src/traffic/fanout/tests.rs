//! What a program and its peers see of publications, with driven time and peers that read when they are told to.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use evws_proto::close;
use evws_proto::connection::FrameKind;
use evws_proto::Role;

use super::*;
use crate::event::Event;
use crate::limits::QueueLimits;
use crate::reactor::{Timer, CONTEXT};
use crate::traffic::bench::{Bench, SECOND};

pub(super) const TOPIC: &[u8] = b"t";

pub(super) fn crowd(bench: &mut Bench, count: usize) -> Vec<(Id, UnixStream)> {
    (0..count)
        .map(|_| {
            let (id, peer) = bench.connected(Role::Server);
            peer.set_nonblocking(true).unwrap();
            bench.with(|traffic, shared| {
                let subscribed = traffic.subscribe(id, TOPIC, None, None, shared.reactor);
                assert_eq!(subscribed, Ok(true));
            });
            (id, peer)
        })
        .collect()
}

pub(super) fn publish(bench: &mut Bench, payload: &[u8]) -> usize {
    let message = Rc::new(Prepared::new(true, true, payload).unwrap());
    let options = PublishOptions {
        is_recorded: true,
        ..PublishOptions::default()
    };
    bench.with(|traffic, shared| traffic.publish(TOPIC, &message, &options, shared.reactor))
}

pub(super) fn flush(bench: &mut Bench) {
    bench.traffic.begin_turn();
    bench.with(|traffic, shared| traffic.flush(shared));
}

pub(super) fn read(peer: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The stream has no end: it is read up to where nothing waits.
    let _ = peer.read_to_end(&mut bytes);
    bytes
}

#[test]
fn what_is_published_is_written_by_the_flush_without_a_queue() {
    let mut bench = Bench::new();
    let mut all = crowd(&mut bench, 3);
    assert_eq!(publish(&mut bench, b"a"), 3);
    assert_eq!(publish(&mut bench, b"bc"), 3);
    assert!(bench.traffic.is_busy(), "the loop must not block");
    assert_eq!(read(&mut all[0].1), b"", "nothing is written in the call");
    flush(&mut bench);
    assert!(!bench.traffic.is_busy());
    for (id, peer) in &mut all {
        assert_eq!(read(peer), b"\x82\x01a\x82\x02bc");
        let counted = bench.traffic.statistics(*id).unwrap();
        assert_eq!((counted.sent.messages, counted.sent.wire), (2, 7));
        assert_eq!(counted.queue_peak, 0, "nothing has waited");
    }
}

/// Whatever can tell that a publication has not been queued has it queued.
#[test]
fn a_send_comes_behind_what_was_published_before_it() {
    let mut bench = Bench::new();
    let mut all = crowd(&mut bench, 2);
    let id = all[0].0;
    publish(&mut bench, b"1");
    bench
        .with(|traffic, shared| traffic.send(id, FrameKind::Binary, b"2", shared))
        .unwrap();
    publish(&mut bench, b"3");
    bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
    flush(&mut bench);
    let close = b"\x88\x02\x03\xe8";
    assert_eq!(
        read(&mut all[0].1),
        [&b"\x82\x011\x82\x012\x82\x013"[..], close].concat()
    );
    assert_eq!(read(&mut all[1].1), b"\x82\x011\x82\x013");
    assert_eq!(bench.traffic.subscribers(TOPIC), 1);
}

#[test]
fn what_the_kernel_does_not_take_waits_in_order_and_shared() {
    let mut bench = Bench::new();
    let mut all = crowd(&mut bench, 2);
    let payload = vec![7; 100_000];
    let mut expected = 0;
    for _ in 0..20 {
        publish(&mut bench, &payload);
        publish(&mut bench, b"small");
        expected += 100_000 + 10 + 5 + 2;
        flush(&mut bench);
    }
    let (id, peer) = &mut all[0];
    let mut got = read(peer);
    assert!(bench.traffic.send_queue_size(*id) > 0);
    while got.len() < expected {
        bench.with(|traffic, shared| traffic.handle_io(*id, false, true, shared));
        got.extend(read(peer));
    }
    assert_eq!(bench.traffic.send_queue_size(*id), 0);
    let one = [
        &b"\x82\x7f\0\0\0\0\0\x01\x86\xa0"[..],
        &payload,
        b"\x82\x05small",
    ]
    .concat();
    assert!(got == one.repeat(20));
    let counted = bench.traffic.statistics(*id).unwrap();
    assert_eq!(
        (counted.sent.messages, counted.sent.wire as usize),
        (40, expected)
    );
}

#[test]
fn a_subscriber_that_is_too_slow_fails_and_the_others_go_on() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Refuse);
    let mut all = crowd(&mut bench, 2);
    let slow = all[0].0;
    for _ in 0..40 {
        publish(&mut bench, &[1; 50_000]);
        flush(&mut bench);
        read(&mut all[1].1);
    }
    assert_eq!(bench.traffic.subscribers(TOPIC), 1);
    let events = bench.events();
    let closed = Event::Close {
        id: slow,
        code: close::TRY_AGAIN_LATER,
    };
    assert_eq!(events, [Event::Error { id: slow }, closed]);
}

#[test]
fn dropped_messages_are_told_of_once_until_somebody_has_asked() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Drop);
    bench.wants.dropped = true;
    let (id, _peer) = crowd(&mut bench, 1).remove(0);
    for _ in 0..40 {
        publish(&mut bench, &[1; 50_000]);
        flush(&mut bench);
    }
    let events = bench.events();
    assert_eq!(events, [Event::Dropped { id, messages: 0 }]);
    let dropped = bench.traffic.statistics(id).unwrap().dropped;
    assert!(dropped > 20);
    assert_eq!(bench.traffic.take_untold(id), dropped);
    publish(&mut bench, b"x");
    flush(&mut bench);
    assert_eq!(bench.events().len(), 1, "the next one is told of again");
}

/// A history of ten messages, each for ten seconds.
fn ten_of_ten_seconds() -> TopicOptions {
    TopicOptions {
        is_recorded: true,
        history: 10,
        max_age: Some(10 * SECOND),
        on_slow: None,
    }
}

/// A topic without subscribers gives the loop nothing to do.
#[test]
fn what_is_published_for_nobody_wakes_nobody() {
    let mut bench = Bench::new();
    let options = ten_of_ten_seconds();
    bench.with(|traffic, shared| traffic.set_topic(TOPIC, &options, shared.reactor));
    assert_eq!(publish(&mut bench, b"x"), 0);
    assert!(!bench.traffic.is_busy());
    assert_eq!(bench.traffic.position(TOPIC).unwrap().offset, 1);
}

#[test]
fn what_was_kept_goes_when_its_time_is_over_and_no_timer_stays() {
    let mut bench = Bench::new();
    let options = ten_of_ten_seconds();
    bench.with(|traffic, shared| traffic.set_topic(TOPIC, &options, shared.reactor));
    publish(&mut bench, b"a");
    let left = bench.reactor.remaining(CONTEXT, Timer::History);
    assert_eq!(left, Some(10 * SECOND));
    bench.reactor.advance(6 * SECOND);
    publish(&mut bench, b"b");
    bench.reactor.advance(4 * SECOND);
    assert_eq!(bench.reactor.pop_due(), Some((CONTEXT, Timer::History)));
    bench.with(|traffic, shared| traffic.expire_history(shared.reactor));
    let left = bench.reactor.remaining(CONTEXT, Timer::History);
    assert_eq!(left.map(|left| left.as_secs_f64().ceil()), Some(6.0));
    bench.with(|traffic, shared| {
        traffic.set_topic(TOPIC, &TopicOptions::default(), shared.reactor);
    });
    assert_eq!(bench.reactor.remaining(CONTEXT, Timer::History), None);
    assert!(bench.traffic.topics().is_empty());
}

#[test]
fn whoever_wants_to_know_hears_which_topics_are_used() {
    let mut bench = Bench::new();
    let all = crowd(&mut bench, 2);
    let told = |bench: &mut Bench| {
        flush(bench);
        bench.events()
    };
    bench.traffic.watch_topics(true);
    assert_eq!(told(&mut bench), [Event::TopicUsed { is_used: true }]);
    for (id, _) in &all {
        bench.with(|traffic, shared| traffic.unsubscribe(*id, TOPIC, shared.reactor));
    }
    assert_eq!(told(&mut bench), [Event::TopicUsed { is_used: false }]);
    let id = all[0].0;
    bench.with(|traffic, shared| {
        traffic
            .subscribe(id, b"u", None, None, shared.reactor)
            .unwrap();
        traffic.close(id, 1000, b"", shared.reactor);
    });
    let both = [true, false].map(|is_used| Event::TopicUsed { is_used });
    assert_eq!(told(&mut bench), both);
    bench.traffic.watch_topics(false);
    let id = all[1].0;
    bench
        .with(|traffic, shared| traffic.subscribe(id, b"u", None, None, shared.reactor))
        .unwrap();
    assert_eq!(told(&mut bench), []);
}

/// A connection that was subscribed and is not any more costs nothing.
#[test]
fn a_prepared_message_that_is_forgotten_is_kept_by_nobody() {
    let mut bench = Bench::new();
    let number = bench.traffic.prepare(true, false, b"once").unwrap();
    let other = bench.traffic.prepare(true, false, b"again").unwrap();
    assert!(number != 0 && other != number);
    let kept = Rc::downgrade(&bench.traffic.prepared(number).unwrap());
    assert!(kept.upgrade().is_some());
    bench.traffic.forget_prepared(number);
    assert!(kept.upgrade().is_none() && bench.traffic.prepared(number).is_none());
}

/// The last connection takes the receive buffer with it, and no one before.
#[test]
fn shared_memory_goes_with_the_last_connection() {
    let mut bench = Bench::new();
    let mut all = crowd(&mut bench, 2);
    std::io::Write::write_all(&mut all[0].1, b"\x82\x81\0\0\0\0x").unwrap();
    let id = all[0].0;
    bench.receive(id);
    bench.traffic.release_memory();
    assert!(!bench.traffic.input.is_free());
    for (id, _) in &all {
        bench.with(|traffic, shared| traffic.release(*id, shared.reactor));
    }
    bench.traffic.release_memory();
    assert!(bench.traffic.input.is_free());
}

#[test]
fn nothing_is_left_of_who_has_left() {
    let mut bench = Bench::new();
    let all = crowd(&mut bench, 3);
    publish(&mut bench, b"x");
    bench.with(|traffic, shared| traffic.close(all[0].0, 1000, b"", shared.reactor));
    bench.with(|traffic, shared| traffic.reset(all[1].0, shared));
    bench.with(|traffic, shared| traffic.unsubscribe(all[2].0, TOPIC, shared.reactor));
    assert!(bench.traffic.topics().is_empty());
    for (id, _) in &all {
        let link = bench.traffic.links.get(*id).unwrap();
        assert!(link.subscriber.is_none());
    }
}

// A Close that the peer had begun, or that a failure made, came before what had been published until then, and that was
// lost for it, while a message that had been sent was not.
#[test]
fn what_was_published_before_a_close_of_any_kind_is_sent_before_it() {
    for bytes in [&b"\x88\x80\0\0\0\0"[..], b"\xFF\x80\0\0\0\0"] {
        let mut bench = Bench::new();
        let (id, mut peer) = crowd(&mut bench, 1).remove(0);
        peer.write_all(bytes).unwrap();
        bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
        publish(&mut bench, b"x");
        bench.with(|traffic, shared| traffic.parse_next(shared));
        flush(&mut bench);
        let got = read(&mut peer);
        assert_eq!(got[..3], *b"\x82\x01x");
        assert_eq!(got[3], 0x88);
    }
}

// What waited for the end of a fragmented message, and was lost as the connection closed, did not count as dropped.
#[test]
fn what_a_close_keeps_from_being_sent_counts_as_dropped() {
    let mut bench = Bench::new();
    let (id, mut peer) = crowd(&mut bench, 1).remove(0);
    let kind = FrameKind::Fragment {
        binary: true,
        last: false,
    };
    bench.with(|traffic, shared| traffic.send(id, kind, b"a", shared).unwrap());
    publish(&mut bench, b"x");
    publish(&mut bench, b"y");
    bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
    flush(&mut bench);
    assert_eq!(read(&mut peer), b"\x02\x01a\x80\0\x88\x02\x03\xE8");
    assert_eq!(bench.traffic.statistics(id).unwrap().dropped, 2);
}

// A peer that took a long message slowly was idle if that had been published, and not if it had been sent.
#[test]
fn who_takes_what_was_published_is_not_idle() {
    let mut bench = Bench::new();
    bench.limits.idle_timeout = Some(60 * SECOND);
    let (_, mut peer) = crowd(&mut bench, 1).remove(0);
    publish(&mut bench, &[0; 4_000_000]);
    flush(&mut bench);
    for _ in 0..5 {
        assert_eq!(bench.pass(40 * SECOND), []);
        flush(&mut bench);
        let mut part = vec![0; 300_000];
        let _ = peer.read(&mut part).unwrap();
        let ids = bench.traffic.ids();
        bench.with(|traffic, shared| traffic.handle_io(ids[0], false, true, shared));
    }
    assert_eq!(bench.traffic.subscribers(TOPIC), 1);
}

// A peer that subscribed again and again from the beginning, and read nothing, got the whole history into its queue each time.
#[test]
fn who_comes_back_without_end_and_reads_nothing_has_a_bounded_queue() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(100_000, 0, 0, WhenFull::Refuse);
    let options = TopicOptions {
        is_recorded: true,
        history: 10,
        max_age: None,
        on_slow: None,
    };
    bench.with(|traffic, shared| traffic.set_topic(TOPIC, &options, shared.reactor));
    let (id, _peer) = bench.connected(Role::Server);
    for _ in 0..10 {
        publish(&mut bench, &[1; 10_000]);
    }
    let epoch = bench.traffic.position(TOPIC).unwrap().epoch;
    let since = Some(Position { epoch, offset: 0 });
    let answers: Vec<bool> = (0..100)
        .map(|_| {
            flush(&mut bench);
            bench.with(|traffic, shared| {
                let complete = traffic.subscribe(id, TOPIC, None, since, shared.reactor);
                traffic.unsubscribe(id, TOPIC, shared.reactor);
                complete.unwrap()
            })
        })
        .collect();
    assert!(answers[0] && !answers[99]);
    assert!(bench.traffic.send_queue_size(id) <= 200_000);
}

// Each key that there had ever been was known until the queue was empty, which it need never be.
#[test]
fn keys_whose_messages_have_gone_out_are_forgotten() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1_000_000, 0, 0, WhenFull::Refuse);
    let (id, mut peer) = bench.connected(Role::Server);
    bench
        .with(|traffic, shared| {
            traffic.subscribe(id, TOPIC, Some(OnSlow::Latest), None, shared.reactor)
        })
        .unwrap();
    let message = Rc::new(Prepared::new(true, false, &[1; 1000]).unwrap());
    for number in 0..10_000u32 {
        let options = PublishOptions {
            key: &number.to_be_bytes(),
            ..PublishOptions::default()
        };
        bench.with(|traffic, shared| {
            traffic.publish(TOPIC, &message, &options, shared.reactor);
            traffic.settle(shared.reactor);
        });
        if number > 500 {
            let _ = peer.read(&mut [0; 1004]).unwrap();
            bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
        } else {
            flush(&mut bench);
        }
    }
    assert!(bench.traffic.send_queue_size(id) > 1000);
    let behind = bench.traffic.links.get_mut(id).unwrap().behind();
    assert!(behind.keys() < 2000, "{}", behind.keys());
}

// Whoever set up a topic had all others searched for messages that were too old: ten thousand took a hundred million looks. A
// message that became too old had so, too.
#[test]
fn topics_are_not_all_searched_for_each_of_them() {
    const TOPICS: u32 = 3000;
    let mut bench = Bench::new();
    let options = ten_of_ten_seconds();
    let message = Rc::new(Prepared::new(true, false, b"x").unwrap());
    let recorded = PublishOptions {
        is_recorded: true,
        ..PublishOptions::default()
    };
    for number in 0..TOPICS {
        let name = number.to_be_bytes();
        bench.with(|traffic, shared| {
            traffic.set_topic(&name, &options, shared.reactor);
            traffic.publish(&name, &message, &recorded, shared.reactor);
        });
        bench.reactor.advance(Duration::from_micros(500));
    }
    assert_eq!(
        bench.traffic.fanout.topics.searches(),
        0,
        "as they are set up"
    );
    let mut fired = 0;
    while bench.reactor.remaining(CONTEXT, Timer::History).is_some() {
        bench.reactor.advance(Duration::from_millis(1));
        if bench.reactor.pop_due().is_some() {
            fired += 1;
            bench.with(|traffic, shared| traffic.expire_history(shared.reactor));
        }
    }
    assert_eq!(bench.traffic.fanout.topics.searches(), fired);
    assert!(fired < 100, "{fired} times all were searched");
}
