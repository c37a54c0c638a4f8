//! The log of a context: what it says of a connection with a raw peer, and that it says nothing unasked.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{listen_options, Loop};
use evws_engine::{Context, Event, FrameKind, Topic};

const REQUEST: &str = "GET /path?key=opensesame HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nAuthorization: Basic c2VjcmV0\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text in two fragments, a Ping between them, and a Close, masked with zeros.
const FRAMES: &[u8] = b"\x01\x83\0\0\0\0abc\x89\x81\0\0\0\0?\x80\x82\0\0\0\0de\x88\x80\0\0\0\0";

fn lines(context: &mut Context) -> Vec<(Topic, u64, String)> {
    let line = std::iter::from_fn(|| context.poll_log());
    line.map(|line| (line.topic, line.id, line.text)).collect()
}

/// A connection from its beginning to its end: its id, its listener's port, and all lines.
fn run(logs: bool) -> (u64, u16, Vec<(Topic, u64, String)>) {
    let mut ours = Loop::new();
    ours.context.set_log(logs);
    let (listener, port) = ours.context.listen(listen_options()).unwrap();
    let peer = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.write_all(REQUEST.as_bytes()).unwrap();
        peer.write_all(FRAMES).unwrap();
        peer.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut id = 0;
    ours.run(|context, seen| match seen.event {
        Event::Connect { id: new, .. } => {
            id = new;
            context.send(id, FrameKind::Binary, &[0; 300]).unwrap();
            false
        }
        event => matches!(event, Event::Close { .. }),
    });
    ours.context.stop_listening(listener);
    ours.run_dry();
    peer.join().unwrap();
    (id, port, lines(&mut ours.context))
}

#[test]
fn it_tells_a_connection_from_its_descriptor_to_its_end() {
    let (id, port, lines) = run(true);
    let of = |topic| -> Vec<&str> {
        let own = lines.iter().filter(|line| line.0 == topic && line.1 == id);
        own.map(|line| &line.2[..]).collect()
    };
    assert_eq!(
        of(Topic::Frame),
        [
            "sent binary, FIN, 300 bytes",
            "received text, masked, 3 bytes",
            "received ping, FIN, masked, 1 bytes",
            "sent pong, FIN, 1 bytes",
            "received continuation, FIN, masked, 2 bytes",
            "received close, FIN, masked, 0 bytes",
            "sent close, FIN, 0 bytes",
        ]
    );
    let handshake = of(Topic::Handshake);
    assert_eq!(handshake[0], "received GET /path?(14 bytes) HTTP/1.1");
    assert!(handshake.contains(&"received Authorization: (14 bytes)"));
    assert!(handshake.contains(&"sent HTTP/1.1 101 Switching Protocols"));
    assert_eq!(handshake.last(), Some(&"the upgrade is done"));
    let states = of(Topic::State);
    assert_eq!(states[0], "Announced, reading Flowing, writing Idle");
    assert_eq!(states[1], "life: Announced to Open");
    assert!(states.contains(&"writing: Idle to Queued"));
    assert!(states.contains(&"life: Open to Lingering { is_clean: true }"));
    assert_eq!(states.last(), Some(&"dead"));
    let timers = of(Topic::Timer);
    assert!(timers[0].starts_with("Handshake starts, runs out in "));
    assert!(timers.contains(&"Handshake is stopped"));
    assert!(timers.contains(&"Linger starts, runs out in 5s"));
    let descriptors = of(Topic::Descriptor);
    assert!(descriptors[0].contains(" is opened: accepted from 127.0.0.1:"));
    assert!(descriptors[0].ends_with(&format!(" at 127.0.0.1:{port}")));
    assert!(descriptors[1].ends_with("is watched for reading"));
    assert!(descriptors[descriptors.len() - 1].ends_with("is closed"));
    assert!(lines
        .iter()
        .all(|line| !line.2.contains("opensesame") && !line.2.contains("c2VjcmV0")));
}

#[test]
fn off_it_says_nothing() {
    assert_eq!(run(false).2, []);
}
