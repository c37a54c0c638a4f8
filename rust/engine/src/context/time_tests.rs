//! What happens when time has gone by, without waiting for it: the clock is set forward.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use super::common::{connect_options, limits, listen_options, Loop};
use crate::limits::{Limits, Rate, RateLimit};
use crate::sys;
use crate::timeouts;
use crate::{ConnectionState, Context, Event, Id, Interest, ListenOptions, RejectCause};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Empty, masked with zeros.
const CLOSE: &[u8] = b"\x88\x80\0\0\0\0";
/// What `listen` gives a client for its request when the program says nothing else.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// What `listen` gives a peer to close when the program says nothing else.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

fn listening(options: ListenOptions) -> (Loop, u16) {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(options).unwrap();
    (ours, port)
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// A raw peer that has sent its request, and the connection that came of it.
fn upgraded(ours: &mut Loop, port: u16) -> (TcpStream, Id) {
    let mut peer = connect(port);
    peer.write_all(REQUEST).unwrap();
    let mut id = 0;
    ours.run(|_, seen| {
        if let Event::Connect { id: new, .. } = seen.event {
            id = new;
        }
        id != 0
    });
    ours.turn();
    (peer, id)
}

/// How many sources are connections that are being established.
fn pending(context: &Context) -> usize {
    context.arrivals.pending_ids().len()
}

/// Lets time go by, and whatever is due happen. The events.
fn pass(ours: &mut Loop, time: Duration) -> Vec<Event> {
    ours.context.reactor.advance(time);
    ours.context.handle_timeout();
    let mut events = Vec::new();
    while let Some(event) = ours.context.poll_event() {
        events.push(event);
    }
    ours.turn();
    events
}

/// What has arrived at the peer, up to the end of the stream, if that has.
fn received(peer: &mut TcpStream) -> (Vec<u8>, bool) {
    peer.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    match peer.read_to_end(&mut bytes) {
        Ok(_) => (bytes, true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => (bytes, false),
        Err(error) => panic!("{error}"),
    }
}

/// A byte that had come but was not read when the time was over took the deadline with it: a client that sent one at
/// the right moment kept its connection for ever.
#[test]
fn a_client_has_30_seconds_for_its_request() {
    let (mut ours, port) = listening(listen_options());
    let mut peer = connect(port);
    peer.write_all(&REQUEST[..REQUEST.len() - 2]).unwrap();
    ours.run_until(|context| pending(context) == 1);
    assert_eq!(pass(&mut ours, REQUEST_TIMEOUT - SECOND), []);
    assert_eq!(received(&mut peer), (Vec::new(), false));
    assert_eq!(pass(&mut ours, SECOND), []);
    let (answer, ended) = received(&mut peer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(ended);
    // It may take its time to read that, but not for ever.
    assert_eq!(ours.context.traffic.count(), 1);
    pass(&mut ours, timeouts::LINGER);
    assert_eq!(ours.context.traffic.count(), 0);
}

/// Each step had the whole time: a client that was slow with its request left the program as long for its decision.
#[test]
fn a_request_and_the_decision_on_it_have_one_time() {
    let mut options = listen_options();
    options.upgrade.ask = true;
    let (mut ours, port) = listening(options);
    let mut peer = connect(port);
    ours.run_until(|context| pending(context) == 1);
    assert_eq!(pass(&mut ours, REQUEST_TIMEOUT - 2 * SECOND), []);
    peer.write_all(REQUEST).unwrap();
    ours.run(|_, seen| matches!(seen.event, Event::Handshake { .. }));
    assert_eq!(pass(&mut ours, SECOND), []);
    assert_eq!(received(&mut peer), (Vec::new(), false));
    pass(&mut ours, SECOND);
    let (answer, _) = received(&mut peer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn the_time_of_a_request_is_over_when_it_was_answered() {
    let (mut ours, port) = listening(listen_options());
    let (_peer, id) = upgraded(&mut ours, port);
    assert_eq!(pass(&mut ours, REQUEST_TIMEOUT * 2), []);
    assert_eq!(ours.context.state(id), ConnectionState::Connected);
}

#[test]
fn a_close_is_answered_within_the_close_timeout() {
    let (mut ours, port) = listening(listen_options());
    let (peer, id) = upgraded(&mut ours, port);
    ours.context.close(id, 1000, b"");
    ours.turn();
    assert_eq!(pass(&mut ours, CLOSE_TIMEOUT - SECOND), []);
    assert_eq!(pass(&mut ours, SECOND), [Event::Close { id, code: 1006 }]);
    drop(peer);
}

#[test]
fn a_connection_that_was_closed_lingers_for_the_close_timeout() {
    let (mut ours, port) = listening(listen_options());
    let (mut peer, id) = upgraded(&mut ours, port);
    // More comes behind its Close, so it is not over with ours.
    peer.write_all(&[CLOSE, b"more"].concat()).unwrap();
    ours.run(|_, seen| seen.event == Event::Close { id, code: 1005 });
    ours.turn();
    pass(&mut ours, CLOSE_TIMEOUT - SECOND);
    assert_eq!(ours.context.traffic.count(), 1);
    pass(&mut ours, SECOND);
    assert_eq!(ours.context.traffic.count(), 0);
}

#[test]
fn pongs_are_taken_within_30_seconds() {
    let (mut ours, port) = listening(listen_options());
    let (mut peer, id) = upgraded(&mut ours, port);
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.extend([7; 125]);
    let pings = ping.repeat(1000);
    peer.set_nonblocking(true).unwrap();
    let is_full = |context: &Context| {
        let (_, interest) = context.traffic.interest(id).unwrap();
        interest == Interest::WRITE
    };
    let mut rest: &[u8] = &pings;
    while !is_full(&ours.context) {
        match peer.write(rest) {
            Ok(written) if written < rest.len() => rest = &rest[written..],
            Ok(_) => rest = &pings,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        ours.context.handle_io(id, true, false);
        ours.turn();
    }
    // Filling it has taken some of that time.
    assert_eq!(pass(&mut ours, timeouts::PONGS / 2), []);
    assert_eq!(
        pass(&mut ours, timeouts::PONGS / 2),
        [Event::Error { id }, Event::Close { id, code: 1008 }]
    );
}

#[test]
fn a_peer_beyond_its_rate_is_read_again_when_it_may_send() {
    let mut options = listen_options();
    options.upgrade.settings.limits = Rc::new(Limits {
        message_rate: Rate::new(2.0, 3.0),
        byte_rate: Rate::new(1000.0, 1000.0),
        ..limits()
    });
    options.upgrade.settings.wants.limit = true;
    let (mut ours, port) = listening(options);
    let (mut peer, id) = upgraded(&mut ours, port);
    peer.set_nodelay(true).unwrap();
    let is_read = |context: &Context| context.traffic.interest(id).unwrap().1 == Interest::READ;
    let message = Event::Message { id, binary: true };
    let limited = |limit| Event::RateLimited { id, limit };
    let mut receive = |ours: &mut Loop, bytes: &[u8]| {
        peer.write_all(bytes).unwrap();
        ours.context.handle_io(id, true, false);
        pass(ours, Duration::ZERO)
    };
    // Empty, masked with zeros.
    let five = b"\x82\x80\0\0\0\0".repeat(5);
    let events = receive(&mut ours, &five);
    let told = limited(RateLimit::Messages);
    assert_eq!(events, [message, message, message, told]);
    assert!(!is_read(&ours.context));
    assert_eq!(pass(&mut ours, SECOND / 2), [message]);
    assert_eq!(pass(&mut ours, SECOND / 4), []);
    assert_eq!(pass(&mut ours, SECOND / 4), [message]);
    assert!(is_read(&ours.context), "no further one has come");
    assert_eq!(pass(&mut ours, 10 * SECOND), []);
    // 1500 bytes where 1000 are allowed.
    let long = [&b"\x82\xFE\x05\xD4\0\0\0\0"[..], &[0; 1492]].concat();
    assert_eq!(receive(&mut ours, &long), []);
    assert!(!is_read(&ours.context), "1024 of them are read");
    assert_eq!(pass(&mut ours, SECOND / 100), []);
    assert!(!is_read(&ours.context));
    pass(&mut ours, SECOND / 10);
    assert!(is_read(&ours.context));
    ours.context.handle_io(id, true, false);
    assert_eq!(pass(&mut ours, Duration::ZERO), [message]);
    assert!(!is_read(&ours.context));
    // What is closed is read: its peer's Close must be seen.
    ours.context.close(id, 1000, b"");
    ours.turn();
    assert!(is_read(&ours.context));
}

#[test]
fn connect_times_out_and_leaves_nothing() {
    let (_ours, port) = listening(listen_options());
    let mut client = Loop::new();
    let mut options = connect_options(port);
    options.timeout = Some(REQUEST_TIMEOUT);
    let id = client.context.connect(options).unwrap();
    client.turn();
    assert_eq!(pass(&mut client, REQUEST_TIMEOUT - SECOND), []);
    assert_eq!(pass(&mut client, SECOND), [Event::ConnectFailed { id }]);
    client.run_dry();
}

#[test]
fn a_turn_takes_32_connections() {
    let (mut ours, port) = listening(listen_options());
    let listener = watched(&mut ours.context);
    let peers: Vec<_> = (0..70).map(|_| connect(port)).collect();
    for expected in [32, 64, 70] {
        ours.context.handle_io(listener, true, false);
        assert_eq!(pending(&ours.context), expected);
    }
    drop(peers);
}

/// The token that is watched for reading.
fn watched(context: &mut Context) -> Id {
    let watch = context.poll_watch().unwrap();
    assert_eq!(watch.interest, Some(Interest::READ));
    watch.token
}

/// The loop has to be told of the deadline: where nothing else happened it slept through it. A second call, with more
/// time or with none, must not make it later.
#[test]
fn a_shutdown_ends_in_its_time_whatever_is_asked_for_later() {
    let (mut ours, port) = listening(listen_options());
    let (peer, id) = upgraded(&mut ours, port);
    ours.context.begin_shutdown(Some(CLOSE_TIMEOUT), 1001, b"");
    ours.context
        .begin_shutdown(Some(CLOSE_TIMEOUT - SECOND), 1001, b"");
    ours.turn();
    let soonest = |ours: &Loop| ours.context.poll_deadline().expect("a deadline");
    assert!(soonest(&ours) <= CLOSE_TIMEOUT - SECOND);
    assert_eq!(pass(&mut ours, SECOND), []);
    ours.context.begin_shutdown(Some(CLOSE_TIMEOUT), 1001, b"");
    ours.context.begin_shutdown(None, 1001, b"");
    ours.turn();
    assert!(soonest(&ours) <= CLOSE_TIMEOUT - 2 * SECOND);
    ours.context.reactor.advance(CLOSE_TIMEOUT - 2 * SECOND);
    ours.context.handle_timeout();
    let cut = Event::Close { id, code: 1006 };
    let mut events = Vec::from_iter(std::iter::from_fn(|| ours.context.poll_event()));
    assert_eq!(events, [cut]);
    ours.run(|_, seen| {
        events.push(seen.event);
        events.len() == 5
    });
    let told = Event::ShutDown { timed_out: 1 };
    assert_eq!(events[1..], [told; 4]);
    assert_eq!(ours.context.poll_deadline(), None);
    drop(peer);
}

/// What a client sends before it is answered is kept for the connection that comes of it, and not without end.
#[test]
fn a_client_that_waits_for_a_decision_is_read_up_to_a_limit() {
    const LIMIT: usize = 64 * 1024;
    let mut options = listen_options();
    options.upgrade.ask = true;
    let (mut ours, port) = listening(options);
    let mut peer = connect(port);
    peer.write_all(REQUEST).unwrap();
    let mut id = 0;
    ours.run(|_, seen| {
        if let Event::Handshake { id: asked, .. } = seen.event {
            id = asked;
        }
        id != 0
    });
    peer.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while ours.context.arrivals.interest(id).unwrap().1 == Some(Interest::READ) {
        assert!(sent < 16 * LIMIT, "it is read without end");
        match peer.write(&[0; 4096]) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        ours.context.handle_io(id, true, false);
    }
    assert_eq!(sent, LIMIT);
}

/// A client that said nothing more after its answer kept its connection for ever; and it was counted as one that went away,
/// or was told that it was too slow.
#[test]
fn a_client_that_was_answered_has_30_seconds_for_its_next_request() {
    let mut options = listen_options();
    options.serve = true;
    let (mut ours, port) = listening(options);
    let mut peer = connect(port);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut id = 0;
    ours.run(|_, seen| {
        if let Event::Request { id: asked, .. } = seen.event {
            id = asked;
        }
        id != 0
    });
    // The program may take its time.
    assert_eq!(pass(&mut ours, REQUEST_TIMEOUT * 2), []);
    let answer = crate::usual_response(200);
    assert!(ours.context.answer_request(id, answer).unwrap());
    // It is not looked at until it says something.
    let (_, wanted) = ours.context.arrivals.interest(id).unwrap();
    assert_eq!(wanted, Some(Interest::READ));
    ours.turn();
    assert_eq!(pass(&mut ours, REQUEST_TIMEOUT - SECOND), []);
    let (answer, ended) = received(&mut peer);
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && !ended);
    assert_eq!(pass(&mut ours, SECOND), []);
    assert_eq!(received(&mut peer), (Vec::new(), true));
    // And one that leaves has got what it has asked for.
    let mut peer = connect(port);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    ours.run(|context, seen| match seen.event {
        Event::Request { id, .. } => context
            .answer_request(id, crate::usual_response(200))
            .unwrap(),
        _ => false,
    });
    drop(peer);
    ours.run_until(|context| pending(context) == 0);
    assert_eq!(ours.context.rejected(None), [0; RejectCause::ALL.len()]);
}

/// A listener whose system has no descriptor left would have the loop called again and again for the same client.
#[test]
fn accepting_that_fails_is_tried_again_a_while_later() {
    let mut ours = Loop::new();
    let (listener, _) = ours.context.listen(listen_options()).unwrap();
    let watch = ours.context.poll_watch().unwrap();
    // accept(2) fails from now on, as it does for a descriptor that the program has closed.
    sys::shutdown(sys::duplicate(watch.fd).unwrap().as_fd());
    assert!(ours.context.arrivals.accepts(listener));
    ours.context.handle_io(watch.token, true, false);
    assert!(!ours.context.arrivals.accepts(listener));
    pass(&mut ours, timeouts::ACCEPT_PAUSE);
    assert!(ours.context.arrivals.accepts(listener));
}

/// A server could make the wait for a connection longer than its program allows, by a body that it never sends in full.
#[test]
fn a_refusal_is_read_within_the_time_of_the_whole() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for (left, time) in [
        (timeouts::REFUSAL / 2, timeouts::REFUSAL / 2),
        (SECOND * 9, timeouts::REFUSAL),
    ] {
        let mut ours = Loop::new();
        let mut options = connect_options(port);
        options.timeout = Some(left + SECOND);
        let id = ours.context.connect(options).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        ours.run_until(|context| context.arrivals.interest(id).unwrap().1 == Some(Interest::READ));
        assert_eq!(pass(&mut ours, SECOND), []);
        peer.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno")
            .unwrap();
        ours.context.handle_io(id, true, false);
        assert_eq!(pass(&mut ours, time - SECOND / 4), []);
        assert_eq!(pass(&mut ours, SECOND / 4), [Event::ConnectFailed { id }]);
    }
}
