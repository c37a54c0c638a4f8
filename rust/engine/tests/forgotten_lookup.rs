//! Names that are being looked up when nobody waits for them any more.

// The other tests use the rest of it.
mod common;

use std::time::Duration;

use common::connect_options;
use evws_engine::{Context, Event, Interest};

/// What the context watches after all that it tells now.
fn watches(context: &mut Context) -> Vec<(i32, Interest)> {
    let mut watched = Vec::new();
    while let Some(watch) = context.poll_watch() {
        watched.retain(|(fd, _)| *fd != watch.fd);
        watched.extend(watch.interest.map(|interest| (watch.fd, interest)));
    }
    watched
}

// The resolver was watched until it answered, so that a name that takes a minute kept the loop
// running for that long after its connection had ended with `connect timeout`.
#[test]
fn a_timeout_ends_the_wait_for_the_name() {
    let mut context = Context::new();
    let mut options = connect_options(9);
    options.url = b"ws://localhost:9/".to_vec();
    options.timeout = Some(Duration::from_nanos(1));
    let id = context.connect(options).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(watches(&mut context).len(), 1, "the resolver");

    context.handle_timeout();
    assert_eq!(context.poll_event(), Some(Event::ConnectFailed { id }));
    assert_eq!(context.payload(), b"connect timeout");
    assert_eq!(context.poll_event(), None);
    let mut told = Vec::new();
    while let Some(watch) = context.poll_watch() {
        told.push(watch.interest);
    }
    assert_eq!(told, [None], "nothing is watched any more");
    assert_eq!(context.poll_deadline(), None);
}

// The late answer of the first lookup must not be taken for that of the second.
#[test]
fn the_next_name_gets_its_own_answer() {
    let mut context = Context::new();
    let mut options = connect_options(9);
    options.url = b"ws://localhost:9/".to_vec();
    options.timeout = Some(Duration::from_nanos(1));
    let forgotten = context.connect(options.clone()).unwrap();
    context.handle_timeout();
    assert_eq!(
        context.poll_event(),
        Some(Event::ConnectFailed { id: forgotten })
    );
    options.timeout = None;
    options.url = b"ws://no-such-host.invalid:9/".to_vec();
    let mut events = common::Loop::new();
    events.context = context;
    let id = events.context.connect(options).unwrap();
    events.run(|_, seen| {
        assert_eq!(seen.event, Event::ConnectFailed { id });
        let text = String::from_utf8_lossy(&seen.payload).into_owned();
        assert!(text.contains("no-such-host.invalid"), "{text}");
        true
    });
}
