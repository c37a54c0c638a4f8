//! Sums: of a connection, of a listener, of all; and what of them stays when those have gone.

use std::rc::Rc;

use evws_proto::connection::Prepared;
use evws_proto::Role;

use super::*;
use crate::limits::{QueueLimits, WhenFull};
use crate::traffic::bench::Bench;
use crate::traffic::{OnSlow, PublishOptions};

fn connection(messages: u64) -> ConnectionStatistics {
    ConnectionStatistics {
        received: Flow {
            messages,
            ..Flow::default()
        },
        queue_peak: messages,
        ..ConnectionStatistics::default()
    }
}

fn messages(groups: &Groups, listener: Option<Id>) -> u64 {
    groups
        .sum(
            listener.as_ref().map(std::slice::from_ref),
            std::iter::empty(),
        )
        .received
        .messages
}

#[test]
fn each_listener_has_sums_of_its_own_and_the_context_has_all() {
    let mut groups = Groups::default();
    let (own, first, second) = (
        groups.join(None),
        groups.join(Some(7)),
        groups.join(Some(8)),
    );
    for (number, count) in [(own, 1), (first, 10), (second, 100)] {
        groups.opened(number);
        groups.closed(number, 1000, &connection(count));
    }
    assert_eq!(messages(&groups, Some(7)), 10);
    assert_eq!(messages(&groups, Some(8)), 100);
    assert_eq!(messages(&groups, Some(9)), 0, "nothing came in there");
    let all = groups.sum(None, std::iter::empty());
    assert_eq!((all.received.messages, all.queue_peak), (111, 100));
    assert_eq!((all.opened, all.open), (3, 0));
    assert_eq!(all.closed, [(1000, 3)]);
}

#[test]
fn what_a_listener_has_counted_is_the_contexts_after_its_last_connection() {
    let mut groups = Groups::default();
    let number = groups.join(Some(7));
    groups.opened(number);
    groups.end(7);
    groups.closed(number, 4001, &connection(5));
    groups.leave(number);
    assert_eq!(
        (messages(&groups, Some(7)), messages(&groups, None)),
        (0, 5)
    );
    // Its number is free for another listener, which begins at zero.
    assert_eq!(groups.join(Some(8)), number);
    assert_eq!(
        (messages(&groups, Some(8)), messages(&groups, None)),
        (0, 5)
    );
}

fn flow(first: u64) -> Flow {
    Flow {
        messages: first,
        frames: 10 * first,
        payload: 100 * first,
        wire: 1000 * first,
    }
}

#[test]
fn a_sum_has_all_that_was_counted_before() {
    let mut groups = Groups::default();
    let one = ConnectionStatistics {
        received: flow(1),
        sent: flow(2),
        queue_peak: 3,
        dropped: 4,
        ..ConnectionStatistics::default()
    };
    for listener in [None, Some(7), Some(8)] {
        let number = groups.join(listener);
        for code in [1001, 1000] {
            groups.opened(number);
            groups.closed(number, code, &one);
        }
        groups.opened(number);
    }
    let sums = |count: u64| Totals {
        received: flow(2 * count),
        sent: flow(4 * count),
        opened: 3 * count,
        open: count,
        queue_peak: 3,
        dropped: 8 * count,
        closed: vec![(1000, count), (1001, count)],
        ..Totals::default()
    };
    assert_eq!(groups.sum(None, std::iter::empty()), sums(3));
    assert_eq!(groups.sum(Some(&[7, 8]), std::iter::empty()), sums(2));
}

/// What waits is that of connections that are open now.
#[test]
fn a_sum_has_what_waits_on_open_connections() {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Refuse);
    let message = Rc::new(Prepared::new(true, false, &[0; 300]).unwrap());
    let all: Vec<_> = (0..3).map(|_| bench.connected(Role::Server)).collect();
    bench.with(|traffic, shared| {
        for (id, _) in &all {
            let on_slow = Some(OnSlow::DropOld);
            let subscribed = traffic.subscribe(*id, b"t", on_slow, None, shared.reactor);
            assert_eq!(subscribed, Ok(true));
        }
        let options = PublishOptions::default();
        traffic.publish(b"t", &message, &options, shared.reactor);
        traffic.settle(shared.reactor);
    });
    let totals = bench.traffic.totals(None);
    assert_eq!((totals.droppable, totals.queue), (3, 900));
    assert_eq!((totals.sent.messages, totals.queue_peak), (0, 300));
}

/// A listener that is there keeps what its connections have counted, also when all of them have gone.
#[test]
fn a_listener_has_its_sums_without_connections() {
    let mut groups = Groups::default();
    let number = groups.join(Some(7));
    groups.opened(number);
    groups.closed(number, 1000, &connection(5));
    groups.leave(number);
    assert_eq!(messages(&groups, Some(7)), 5);
}

/// A listener that has been stopped is not kept for ever.
#[test]
fn a_listener_that_is_forgotten_has_no_sums() {
    let mut bench = Bench::new();
    let groups = &mut bench.traffic.groups;
    let number = groups.join(Some(7));
    groups.opened(number);
    groups.closed(number, 1000, &connection(5));
    groups.leave(number);
    bench.traffic.forget_listener(7);
    let sums = |listeners| bench.traffic.totals(listeners).received.messages;
    assert_eq!((sums(Some(&[7])), sums(None)), (0, 5));
}

/// Connections of a listener that is no more must not be counted for the next one.
#[test]
fn a_number_is_free_after_the_last_connection_that_has_it() {
    let mut groups = Groups::default();
    let number = groups.join(Some(7));
    groups.opened(number);
    groups.end(7);
    assert_ne!(groups.join(Some(8)), number);
    groups.closed(number, 1000, &connection(5));
    assert_eq!(messages(&groups, Some(8)), 0);
    assert_eq!(messages(&groups, None), 5);
}
