//! Clients of a listener on their way to a connection, as raw peers see it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use evws_proto::Role;

use super::common::{connect_options, listen_options, Loop, Seen};
use crate::event::RejectCause;
use crate::{
    usual_response, AdoptOptions, AdoptedAs, ConnectionState, Context, Event, Id, ListenOptions,
};

pub(super) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Origin: http://elsewhere\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A request that is no upgrade.
pub(super) const PLAIN: &str = "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n\r\n";

pub(super) fn listening(options: ListenOptions) -> (Loop, Id, u16) {
    let mut ours = Loop::new();
    let (listener, port) = ours.context.listen(options).unwrap();
    (ours, listener, port)
}

/// A raw peer that has sent this.
pub(super) fn peer(port: u16, bytes: &str) -> TcpStream {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    peer.write_all(bytes.as_bytes()).unwrap();
    peer
}

/// What is left to read, up to the end of the stream, which has come.
fn rest(mut peer: TcpStream) -> String {
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    text
}

/// Runs until an event is the one that `is_it` knows, which is returned with all before it.
pub(super) fn events(ours: &mut Loop, is_it: impl Fn(&Event) -> bool) -> Vec<Seen> {
    let mut all = Vec::new();
    ours.run(|_, seen| {
        all.push(seen.clone());
        is_it(&seen.event)
    });
    ours.turn();
    all
}

fn is_asked(event: &Event) -> bool {
    matches!(event, Event::Handshake { .. } | Event::Request { .. })
}

fn is_rejected(event: &Event, why: RejectCause) -> bool {
    matches!(event, Event::Rejected { cause, .. } if *cause == why)
}

fn names(headers: &[(String, Vec<u8>)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| &name[..]).collect()
}

/// Whoever counts what was refused, or looks for who it was, has the request's headers for that: also those of one that
/// is no upgrade.
#[test]
fn a_client_that_is_rejected_is_told_with_the_headers_that_it_has_sent() {
    let mut options = listen_options();
    options.upgrade.settings.wants.reject = true;
    options.upgrade.origins = Some(vec!["http://here".to_owned()]);
    let (mut ours, listener, port) = listening(options);
    let is_told = |event: &Event| matches!(event, Event::Rejected { .. });
    let foreign = peer(port, REQUEST);
    let told = events(&mut ours, is_told).pop().unwrap();
    assert!(
        matches!(told.event, Event::Rejected { cause: RejectCause::Origin, listener: at, .. } if at == listener),
        "{told:?}"
    );
    assert!(names(&told.headers).contains(&"Origin"), "{told:?}");
    assert!(rest(foreign).starts_with("HTTP/1.1 403 "));
    // It is refused before anything of it is noted.
    let plain = peer(port, PLAIN);
    let told = events(&mut ours, is_told).pop().unwrap();
    assert!(is_rejected(&told.event, RejectCause::Request), "{told:?}");
    assert!(names(&told.headers).contains(&"User-Agent"), "{told:?}");
    assert!(rest(plain).starts_with("HTTP/1.1 426 "));
    let mut expected = [0; RejectCause::ALL.len()];
    expected[RejectCause::Origin.index()] = 1;
    expected[RejectCause::Request.index()] = 1;
    assert_eq!(ours.context.rejected(Some(&[listener])), expected);
}

/// An event that ends what was accepted is no event of what was not: the program has forgotten that client.
#[test]
fn of_a_client_that_the_program_has_refused_it_hears_no_more() {
    let mut options = listen_options();
    options.upgrade.ask = true;
    let (mut ours, _, port) = listening(options);
    let peer = peer(port, REQUEST);
    let mut all = Vec::new();
    ours.run(|context, seen| {
        all.push(seen.event);
        if let Event::Handshake { id, .. } = seen.event {
            let refused = context.reject_handshake(id, usual_response(404));
            assert!(refused.unwrap());
            assert!(!context.reject_handshake(id, usual_response(404)).unwrap());
        }
        true
    });
    ours.run_until(|context| context.handshakes(None) == 0);
    assert!(rest(peer).starts_with("HTTP/1.1 404 "));
    assert!(matches!(all[..], [Event::Handshake { .. }]), "{all:?}");
    assert_eq!(ours.context.poll_event(), None);
    assert_eq!(ours.context.events(), 1);
}

/// One address must not take all places: its client counts from the moment it is accepted, as far as no proxy is to say who
/// it is.
#[test]
fn clients_beyond_a_limit_are_told_to_come_again() {
    for (whole, of_address) in [(1, 0), (0, 1)] {
        let mut options = listen_options();
        options.upgrade.settings.wants.reject = true;
        options.max_connections = whole;
        options.max_connections_per_address = of_address;
        let (mut ours, _, port) = listening(options);
        let is_connected = |event: &Event| matches!(event, Event::Connect { .. });
        let first = peer(port, "");
        ours.run_until(|context| context.handshakes(None) == 1);
        let second = peer(port, REQUEST);
        let is_decided =
            |event: &Event| is_connected(event) || is_rejected(event, RejectCause::Limit);
        let told = events(&mut ours, is_decided).pop().unwrap();
        assert!(is_rejected(&told.event, RejectCause::Limit), "{told:?}");
        let answer = rest(second);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
        // It keeps its place when it becomes a connection.
        (&first).write_all(REQUEST.as_bytes()).unwrap();
        events(&mut ours, is_connected);
        let third = peer(port, REQUEST);
        let told = events(&mut ours, is_decided).pop().unwrap();
        assert!(is_rejected(&told.event, RejectCause::Limit), "{told:?}");
        drop((first, third));
        events(&mut ours, |event| matches!(event, Event::Close { .. }));
        let _fourth = peer(port, REQUEST);
        events(&mut ours, is_connected);
    }
}

/// The next client of a listener needs the memory that the last one has used, and where nobody can come it is given back.
#[test]
fn memory_that_connections_share_stays_as_long_as_somebody_listens() {
    let (mut ours, listener, port) = listening(listen_options());
    let mut peer = peer(port, REQUEST);
    let is_over = |event: &Event| matches!(event, Event::Close { .. });
    events(&mut ours, |event| matches!(event, Event::Connect { .. }));
    // Empty, masked with zeros.
    peer.write_all(b"\x82\x80\0\0\0\0").unwrap();
    events(&mut ours, |event| matches!(event, Event::Message { .. }));
    drop(peer);
    events(&mut ours, is_over);
    ours.run_until(|context| context.traffic.count() == 0);
    ours.turn();
    assert!(ours.context.traffic.holds_memory());
    assert!(ours.context.stop_listening(listener));
    ours.turn();
    assert!(!ours.context.traffic.holds_memory());
}

/// Where as many clients may be on their way as there are, the next ones wait in the kernel. To take one of them for each
/// that is done would be two system calls more for each.
#[test]
fn accepting_goes_on_when_an_eighth_of_the_places_is_free_again() {
    let mut options = listen_options();
    options.max_handshakes = 16;
    let (mut ours, listener, port) = listening(options);
    let mut peers: Vec<_> = (0..15).map(|_| peer(port, "G")).collect();
    let is_accepting = |context: &Context| context.arrivals.accepts(listener);
    ours.run_until(|context| context.handshakes(None) == 15);
    assert!(is_accepting(&ours.context));
    peers.push(peer(port, "G"));
    ours.run_until(|context| context.handshakes(None) == 16);
    assert!(!is_accepting(&ours.context));
    for (left, accepts) in [(15, false), (14, true), (13, true)] {
        peers.pop();
        ours.run_until(|context| context.handshakes(None) == left);
        assert_eq!(is_accepting(&ours.context), accepts, "{left} are left");
    }
}

/// Whoever is told that a connection came to nothing may ask for its state then; and nothing is kept of it.
#[test]
fn a_connection_that_has_failed_is_closed_when_that_is_told() {
    let (mut ours, listener, port) = listening(listen_options());
    ours.context.stop_listening(listener);
    let mut last = 0;
    for _ in 0..2 {
        let id = ours.context.connect(connect_options(port)).unwrap();
        assert_eq!(ours.context.state(id), ConnectionState::Connecting);
        let failed = Event::ConnectFailed { id };
        let told = events(&mut ours, |event| *event == failed).pop().unwrap();
        let text = String::from_utf8(told.payload).unwrap();
        assert!(text.starts_with("connect to 127.0.0.1:"), "{text}");
        assert_eq!(ours.context.state(id), ConnectionState::Closed);
        assert_eq!(ours.watched(), 0, "its descriptor has left the loop");
        assert!(
            last == 0 || last as u32 == id as u32,
            "its place is used again"
        );
        last = id;
    }
}

/// A slot for each listener that there ever was would be memory that never comes back.
#[test]
fn a_listener_that_was_stopped_leaves_its_place_when_that_is_told() {
    let (mut ours, first, _) = listening(listen_options());
    assert!(ours.context.stop_listening(first));
    assert!(!ours.context.stop_listening(first));
    let is_ended = |event: &Event| matches!(event, Event::ListenerEnded { .. });
    events(&mut ours, is_ended);
    for _ in 0..5 {
        let (listener, _) = ours.context.listen(listen_options()).unwrap();
        assert_ne!(listener, first);
        // It has a place for itself and one for its socket.
        assert!((listener as u32).abs_diff(first as u32) < 2, "{listener:x}");
        ours.turn();
        assert!(ours.context.stop_listening(listener));
        events(&mut ours, is_ended);
    }
}

/// The program knows the id of a connection that it has adopted, and of this one it was not told yet that it is open: it is
/// told that it never was, and until then it is on its way there.
#[test]
fn a_connection_that_is_ended_before_it_is_told_of_as_open_has_failed() {
    let mut ours = Loop::new();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let adopt = |context: &mut Context| {
        let options = AdoptOptions {
            fd: socket.as_raw_fd(),
            kind: AdoptedAs::Upgraded(Role::Server),
            initial_data: Vec::new(),
            upgrade: listen_options().upgrade,
        };
        context.adopt(options).unwrap()
    };
    let id = adopt(&mut ours.context);
    ours.context.abort(id);
    assert_eq!(ours.context.state(id), ConnectionState::Closing);
    assert_eq!(ours.context.poll_event(), Some(Event::ConnectFailed { id }));
    assert_eq!(ours.context.payload(), b"aborted");
    assert_eq!(ours.context.state(id), ConnectionState::Closed);
    assert_eq!(ours.context.poll_event(), None);
    ours.turn();
    assert_eq!(
        adopt(&mut ours.context) as u32,
        id as u32,
        "its place is used again"
    );
}

/// Who a client is that a trusted proxy has passed on is what the proxy says: to the program that decides, and afterwards.
#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let request = REQUEST.replace("Host: h", "Host: h\r\nX-Forwarded-For: 192.0.2.7");
    for (trusted, ip) in [("127.0.0.1", [192, 0, 2, 7]), ("192.0.2.1", [127, 0, 0, 1])] {
        let mut options = listen_options();
        options.upgrade.ask = true;
        options.upgrade.trusted_proxies = Some(vec![trusted.to_owned()]);
        let (mut ours, _, port) = listening(options);
        let _peer = peer(port, &request);
        ours.run(|context, seen| match seen.event {
            Event::Handshake { id, .. } => {
                assert_eq!(context.peer(id).unwrap().ip(), Some(ip.into()));
                assert!(context.accept_handshake(id, Vec::new(), None).unwrap());
                false
            }
            Event::Connect { id, .. } => {
                assert_eq!(context.peer(id).unwrap().ip(), Some(ip.into()));
                true
            }
            _ => false,
        });
    }
}

/// Nobody decides any more, so a client that comes at that moment is sent away in place of being left without an answer; also
/// one whose first request was answered. That its listener had ended was told twice then: by the connection, and by the call
/// that had ended both.
#[test]
fn a_request_that_a_shutdown_finds_is_answered_with_503() {
    for (serve, request) in [(true, PLAIN), (false, REQUEST), (true, REQUEST)] {
        for is_first in [true, false] {
            let mut options = listen_options();
            options.serve = serve;
            options.upgrade.ask = true;
            let (mut ours, _, port) = listening(options);
            let mut late = peer(port, "");
            ours.run_until(|context| context.handshakes(None) == 1);
            if serve && !is_first {
                late.write_all(PLAIN.as_bytes()).unwrap();
                ours.run(|context, seen| match seen.event {
                    Event::Request { id, .. } => {
                        context.answer_request(id, usual_response(200)).unwrap()
                    }
                    _ => false,
                });
                ours.turn();
            }
            late.write_all(request.as_bytes()).unwrap();
            ours.context.begin_shutdown(None, 1001, b"");
            let mut told = Vec::from_iter(std::iter::from_fn(|| ours.context.poll_event()));
            assert!(!told.iter().any(is_asked), "{told:?}");
            let answer = rest(late);
            assert!(answer.contains("HTTP/1.1 503 "), "{answer}");
            let is_over = |event: &Event| matches!(event, Event::ShutDown { .. });
            told.extend(events(&mut ours, is_over).iter().map(|seen| seen.event));
            assert!(
                matches!(
                    told[..],
                    [
                        Event::ListenerEnded { .. },
                        Event::ShutDown { timed_out: 0 }
                    ]
                ),
                "{told:?}"
            );
        }
    }
}

/// An answer would be for nobody.
#[test]
fn a_program_is_not_asked_for_a_client_that_has_its_answer() {
    for request in [PLAIN, REQUEST] {
        let mut options = listen_options();
        options.serve = true;
        options.upgrade.ask = true;
        let (mut ours, _, port) = listening(options);
        let _peer = peer(port, request);
        ours.run_until(|context| context.handshakes(None) == 1);
        let id = ours.context.arrivals.pending_ids()[0];
        ours.context.handle_io(id, true, false);
        // The question was asked, and has not been delivered.
        ours.context.begin_shutdown(None, 1001, b"");
        let told = Vec::from_iter(std::iter::from_fn(|| ours.context.poll_event()));
        assert!(!told.iter().any(is_asked), "{told:?}");
    }
}

/// A forked child that lets go of what it has inherited must leave its parent's streams alone.
#[test]
fn an_adopted_stream_ends_with_the_context_but_not_with_that_of_a_child() {
    for (is_child, ends) in [(false, true), (true, false)] {
        let mut ours = Loop::new();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let options = AdoptOptions {
            fd: socket.as_raw_fd(),
            kind: AdoptedAs::Client,
            initial_data: Vec::new(),
            upgrade: listen_options().upgrade,
        };
        ours.context.adopt(options).unwrap();
        ours.context.shut_down(is_child);
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).is_ok(), ends);
    }
}

#[test]
fn after_a_shutdown_nothing_is_begun() {
    let mut ours = Loop::new();
    ours.context.begin_shutdown(None, 1001, b"");
    let text = "the context has been shut down";
    let refused = ours.context.connect(connect_options(1)).unwrap_err();
    assert_eq!(refused.to_string(), text);
    assert_eq!(
        ours.context
            .listen(listen_options())
            .unwrap_err()
            .to_string(),
        text
    );
}

/// The log of a connection that does not come about is what its user sends: it names each descriptor and its address.
#[test]
fn the_log_of_a_client_names_its_descriptor_and_where_it_has_connected_to() {
    let (mut ours, _, port) = listening(listen_options());
    ours.context.set_log(true);
    let id = ours.context.connect(connect_options(port)).unwrap();
    events(&mut ours, |event| {
        *event == Event::Connect { id, listener: None }
    });
    let lines = std::iter::from_fn(|| ours.context.poll_log()).filter(|line| line.id == id);
    let lines: Vec<String> = lines.map(|line| line.text).collect();
    let at = format!("127.0.0.1:{port}");
    let opened = lines.iter().position(|line| {
        line.starts_with("fd ") && line.ends_with(&format!("is opened: connects to {at}"))
    });
    let connected = lines
        .iter()
        .position(|line| *line == format!("connected to {at}"));
    let head = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(head("sent GET / HTTP/1.1"), 1, "{lines:?}");
    assert_eq!(head("received HTTP/1.1 101 "), 1, "{lines:?}");
    assert!(opened.is_some() && opened < connected, "{lines:?}");
}

/// Whoever listens no more has nobody turned away whom the kernel has let in, however many they are.
#[test]
fn all_who_wait_are_taken_when_a_listener_is_stopped() {
    let (mut ours, listener, port) = listening(listen_options());
    let peers: Vec<_> = (0..70).map(|_| peer(port, "G")).collect();
    assert!(ours.context.stop_listening(listener));
    assert_eq!(ours.context.handshakes(None), 70);
    drop(peers);
}

/// A client that sends many requests at once had the loop to itself until all of them were answered.
#[test]
fn one_request_of_a_client_is_served_in_a_turn() {
    let mut options = listen_options();
    options.serve = true;
    let (mut ours, _, port) = listening(options);
    let _peer = peer(port, &PLAIN.repeat(3));
    for _ in 0..3 {
        let mut asked = 0;
        ours.run(|context, seen| {
            if let Event::Request { id, .. } = seen.event {
                assert!(context.answer_request(id, usual_response(200)).unwrap());
                asked += 1;
            }
            assert_eq!(context.poll_event(), None);
            true
        });
        assert_eq!(asked, 1);
    }
}

/// Closing our descriptor does not end the stream of a socket that the program has as well.
#[test]
fn the_stream_of_an_adopted_socket_ends_with_its_connection() {
    let mut ours = Loop::new();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    let options = AdoptOptions {
        fd: socket.as_raw_fd(),
        kind: AdoptedAs::Client,
        initial_data: REQUEST.into(),
        upgrade: listen_options().upgrade,
    };
    let id = ours.context.adopt(options).unwrap();
    let connected = Event::Connect { id, listener: None };
    events(&mut ours, |event| *event == connected);
    ours.context.abort(id);
    ours.turn();
    let mut answer = String::new();
    peer.set_nonblocking(true).unwrap();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}
