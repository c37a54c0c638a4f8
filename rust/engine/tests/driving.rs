//! What the caller of the engine may rely on: ids, watches, and how much happens in one turn of
//! the loop. The other end is a raw socket.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{listen_options, Loop};
use evws_engine::{ConnectionState, Context, Event, FanoutMessage, FrameKind, Id, PublishOptions};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A message in one frame, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// A raw peer whose upgrade is done, and its connection.
fn peer(ours: &mut Loop, port: u16) -> (TcpStream, Id) {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    peer.write_all(REQUEST.as_bytes()).unwrap();
    let mut id = 0;
    ours.run(|_, seen| {
        if let Event::Connect { id: new, .. } = seen.event {
            id = new;
        }
        id != 0
    });
    // What the callback of a program would have let happen: the response goes out.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (peer, id)
}

fn is_open(fd: i32) -> bool {
    // SAFETY: fcntl with this command takes integers only.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Events of one turn, without waiting.
fn events(context: &mut Context) -> Vec<Event> {
    let mut events: Vec<Event> = std::iter::from_fn(|| context.poll_event()).collect();
    context.flush();
    events.extend(std::iter::from_fn(|| context.poll_event()));
    events
}

#[test]
fn an_id_goes_stale_and_its_place_is_used_again_under_another() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (first_peer, first) = peer(&mut ours, port);
    drop(first_peer);
    ours.run(|_, seen| matches!(seen.event, Event::Close { id, code: 1006 } if id == first));
    let (_second_peer, second) = peer(&mut ours, port);
    assert_eq!(first as u32, second as u32, "the place is used again");
    assert_ne!(first, second);
    assert_eq!(ours.context.state(second), ConnectionState::Connected);
    assert_eq!(ours.context.state(first), ConnectionState::Closed);
    assert!(ours
        .context
        .send(first, FrameKind::Text, b"astray")
        .is_err());
    assert_eq!(ours.context.send_queue_size(second), 0);
    assert_eq!(ours.context.protocol(first), None);
    assert_eq!(ours.context.peer(first), None);
}

#[test]
fn a_descriptor_is_closed_after_the_loop_has_let_go_of_it() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (peer, id) = peer(&mut ours, port);
    drop(peer);
    // The end is noticed and told; nothing has been said about the watch yet.
    while ours.context.state(id) != ConnectionState::Closed {
        ours.context.handle_io(id, true, false);
        events(&mut ours.context);
    }
    let mut let_go = None;
    while let Some(watch) = ours.context.poll_watch() {
        assert!(is_open(watch.fd), "{watch:?}");
        if watch.token == id {
            assert_eq!(watch.interest, None);
            let_go = Some(watch.fd);
        }
    }
    let fd = let_go.expect("the loop is told");
    assert!(!is_open(fd), "the call that follows closes it");
}

#[test]
fn one_connection_does_not_keep_the_loop_to_itself() {
    const MESSAGES: usize = 20_000;
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (mut peer, id) = peer(&mut ours, port);
    let flood: Vec<u8> = frame(2, b"x").repeat(MESSAGES);
    let writer = std::thread::spawn(move || {
        peer.write_all(&flood).unwrap();
        peer
    });
    let (mut total, mut turns, mut postponed) = (0, 0, 0);
    while total < MESSAGES {
        ours.context.handle_timeout();
        ours.context.handle_io(id, true, false);
        let count = events(&mut ours.context).len();
        assert!(count <= 4096 + 1, "{count} events in one turn");
        if count >= 4096 {
            postponed += 1;
            let until = ours.context.poll_deadline();
            assert_eq!(until, Some(Duration::ZERO), "the rest has its turn at once");
        }
        total += count;
        turns += usize::from(count > 0);
    }
    assert_eq!(total, MESSAGES);
    assert!(turns > 4 && postponed > 0);
    drop(writer.join().unwrap());
}

#[test]
fn a_drain_that_sends_is_written_in_the_next_turn() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (mut peer, id) = peer(&mut ours, port);
    ours.context.send(id, FrameKind::Text, b"0").unwrap();
    for turn in 1..50_u8 {
        ours.context.handle_prepare();
        assert_eq!(ours.context.poll_event(), None);
        ours.context.flush();
        let mut drains = 0;
        while let Some(event) = ours.context.poll_event() {
            if let Event::Drain { id } = event {
                drains += 1;
                ours.context.send(id, FrameKind::Text, &[turn]).unwrap();
            }
        }
        assert_eq!(drains, 1, "in turn {turn}");
        assert_eq!(
            ours.context.send_queue_size(id),
            1,
            "it waits for the next turn"
        );
        assert_eq!(ours.context.poll_deadline(), Some(Duration::ZERO));
        let mut message = [0; 3];
        peer.read_exact(&mut message).unwrap();
    }
}

/// A peer that sent many Pings was failed with 1008 although it read all the time, only because
/// the program had more to send than the socket took: what counts is that the Pongs went out.
#[test]
fn pongs_are_out_when_they_are_written_not_when_the_queue_is_empty() {
    const PINGS: usize = 2000;
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (mut peer, id) = peer(&mut ours, port);
    // More than any socket takes, so that the queue never empties.
    let filler = vec![7; 1 << 20];
    let fill = |context: &mut Context| {
        while context.send_queue_size(id) < 32 << 20 {
            context.send(id, FrameKind::Binary, &filler).unwrap();
        }
    };
    fill(&mut ours.context);
    // Pongs of these pass the bound beyond which nothing more is read from their peer.
    peer.write_all(&frame(9, &[1; 100]).repeat(PINGS)).unwrap();
    peer.write_all(&frame(1, b"after them")).unwrap();
    let reader = std::thread::spawn(move || {
        let mut sink = vec![0; 1 << 20];
        while peer.read(&mut sink).is_ok_and(|count| count > 0) {}
    });
    ours.run(|context, seen| {
        fill(context);
        assert!(!matches!(
            seen.event,
            Event::Error { .. } | Event::Close { .. }
        ));
        matches!(seen.event, Event::Message { .. })
    });
    assert!(
        ours.context.send_queue_size(id) > 0,
        "the queue was never empty"
    );
    ours.context.shut_down(false);
    reader.join().unwrap();
}

/// The headers of a handshake stayed with the events that followed it in the same turn: a caller
/// who asked those for headers was given the wrong ones.
#[test]
fn headers_belong_to_their_event_alone() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let both = [REQUEST.as_bytes(), &frame(1, b"at once")].concat();
    peer.write_all(&both).unwrap();
    let mut seen_headers = Vec::new();
    ours.run(|_, seen| {
        seen_headers.push((seen.event, seen.headers.len()));
        matches!(seen.event, Event::Message { .. })
    });
    assert!(
        matches!(
            seen_headers[..],
            [(Event::Connect { .. }, 1..), (Event::Message { .. }, 0)]
        ),
        "{seen_headers:?}"
    );
}

/// `on_drain` says that there is room. A program that had sent again before it was told heard that of a queue which
/// was full again.
#[test]
fn a_queue_that_is_long_again_is_not_told_of_as_empty() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (_peer, id) = peer(&mut ours, port);
    let context = &mut ours.context;
    assert_eq!(events(context), []);
    context.handle_prepare();
    context.send(id, FrameKind::Text, b"a").unwrap();
    context.flush();
    context.send(id, FrameKind::Text, b"b").unwrap();
    assert_eq!(context.poll_event(), None);
    context.handle_prepare();
    context.flush();
    assert_eq!(context.poll_event(), Some(Event::Drain { id }));
    assert_eq!(context.poll_event(), None);
}

/// A large message of its own memory is handed over and not copied; what a copy is cheaper for stays.
#[test]
fn a_large_message_is_given_away_and_a_small_one_is_not() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (mut peer, _) = peer(&mut ours, port);
    let message = [7; 300_000];
    let mut bytes = vec![0x82, 0xff];
    bytes.extend_from_slice(&(message.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&message);
    bytes.extend_from_slice(&frame(2, b"small"));
    // In two frames it has memory of its own, too.
    let mut halves = frame(2, b"sm");
    halves[0] = 2;
    bytes.extend_from_slice(&[halves, frame(0, b"all")].concat());
    let writer = std::thread::spawn(move || peer.write_all(&bytes).map(|()| peer));
    let mut taken = Vec::new();
    ours.run(|context, seen| {
        taken.push((seen.payload.len(), context.take_payload()));
        taken.len() == 3
    });
    assert!(taken[0] == (message.len(), Some(message.to_vec())));
    assert_eq!(taken[1..], [(5, None), (5, None)]);
    drop(writer.join().unwrap());
}

/// A program that ends a connection between two turns waits in its loop next: it has to be woken for what that leads to.
#[test]
fn events_that_wait_are_a_reason_not_to_sleep() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (_peer, id) = peer(&mut ours, port);
    assert_eq!(events(&mut ours.context), []);
    assert_ne!(ours.context.poll_deadline(), Some(Duration::ZERO));
    ours.context.abort(id);
    assert_eq!(ours.context.poll_deadline(), Some(Duration::ZERO));
    assert_eq!(events(&mut ours.context), [Event::Close { id, code: 1006 }]);
}

/// What a program has published before it ends goes out with what it has sent. A forked child that ends its copy says
/// nothing to its parent's peers.
#[test]
fn what_was_published_goes_out_with_the_end_and_a_silent_end_sends_nothing() {
    for (silent, expected) in [(false, &b"\x82\x04last"[..]), (true, b"")] {
        let mut ours = Loop::new();
        let (_, port) = ours.context.listen(listen_options()).unwrap();
        let (mut peer, id) = peer(&mut ours, port);
        let context = &mut ours.context;
        assert_eq!(context.subscribe(id, b"topic", None, None), Ok(true));
        let message = FanoutMessage::New {
            is_binary: true,
            is_compressible: false,
            payload: b"last",
        };
        let told = context.publish(b"topic", message, &PublishOptions::default());
        assert_eq!(told, Ok(1));
        context.shut_down(silent);
        let mut got = Vec::new();
        // A stream that ends with a reset has the same bytes before it.
        let _ = peer.read_to_end(&mut got);
        assert_eq!(got, expected);
    }
}

/// A program that prepares a message for each price, and drops it, would grow without end.
#[test]
fn a_prepared_message_is_gone_when_it_was_forgotten() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let (mut peer, id) = peer(&mut ours, port);
    let context = &mut ours.context;
    let [first, second] = [&b"1"[..], b"2"].map(|text| context.prepare(true, false, text).unwrap());
    context.forget_prepared(first);
    assert_eq!(context.send_prepared(id, first), Ok(false));
    assert_eq!(context.send_prepared(id, second), Ok(true));
    context.forget_prepared(second);
    context.flush();
    let mut got = [0; 3];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"\x82\x012");
}
