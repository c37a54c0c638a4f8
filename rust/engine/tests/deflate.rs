//! permessage-deflate on sockets: against peers that speak it by hand, with codecs of their own, and with both ends in
//! one context.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use common::{connect_options, listen_options, Loop, Seen};
use evws_engine::{ConnectOptions, Context, DeflateOptions, Event, FrameKind, Id, ListenOptions};
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::handshake::accept_key;
use evws_proto::mask;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

const OPTIONS: DeflateOptions = DeflateOptions {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: None,
    threshold: 100,
    level: 6,
    memory: 0,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn listening(deflate: DeflateOptions) -> ListenOptions {
    let mut options = listen_options();
    options.upgrade.settings.deflate = Some(deflate);
    options
}

fn connecting(port: u16, deflate: DeflateOptions) -> ConnectOptions {
    let mut options = connect_options(port);
    options.settings.deflate = Some(deflate);
    options
}

fn text(length: usize) -> Vec<u8> {
    let numbers = (0u32..).map(|i| format!("{{\"n\":{}}},", i.wrapping_mul(2_654_435_761) >> 12));
    let mut text = String::new();
    for number in numbers.take(length / 8 + 1) {
        text += &number;
    }
    text.truncate(length);
    text.into_bytes()
}

/// A peer that does everything by hand, with zlib streams that live as long as it does.
struct Raw {
    stream: TcpStream,
    masks: bool,
    compress: Compress,
    inflate: Decompress,
}

impl Raw {
    fn new(stream: TcpStream, masks: bool) -> Self {
        Raw {
            stream,
            masks,
            compress: Compress::new(Compression::best(), false),
            inflate: Decompress::new(false),
        }
    }

    /// A client: what the server answered to this offer.
    fn connect(port: u16, offer: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: {offer}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut stream);
        (Raw::new(stream, true), head)
    }

    fn send(&mut self, payload: &[u8]) {
        let mut compressed = Vec::with_capacity(payload.len() + 100);
        self.compress
            .compress_vec(payload, &mut compressed, FlushCompress::Sync)
            .unwrap();
        compressed.truncate(compressed.len() - 4);
        let key = self.masks.then_some([1, 2, 3, 4]);
        let mut wire = Vec::new();
        frame::encode_with(true, RSV1, Opcode::Text, &compressed, key, &mut wire);
        self.stream.write_all(&wire).unwrap();
    }

    /// The next message: its frame's reserved bits and length, and its content.
    fn receive(&mut self) -> (u8, usize, Vec<u8>) {
        let mut head = vec![0; 2];
        self.stream.read_exact(&mut head).unwrap();
        let (header, _) = loop {
            match frame::parse_header(&head).unwrap() {
                Some(parsed) => break parsed,
                None => {
                    head.push(0);
                    let last = head.len() - 1;
                    self.stream.read_exact(&mut head[last..]).unwrap();
                }
            }
        };
        let mut payload = vec![0; header.payload_len as usize];
        self.stream.read_exact(&mut payload).unwrap();
        if let Some(key) = header.mask {
            mask::apply(key, 0, &mut payload);
        }
        let length = payload.len();
        if header.rsv == RSV1 {
            payload.extend([0, 0, 0xFF, 0xFF]);
            let mut plain = Vec::with_capacity(1 << 20);
            self.inflate
                .decompress_vec(&payload, &mut plain, FlushDecompress::Sync)
                .unwrap();
            payload = plain;
        }
        (header.rsv, length, payload)
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn echo(context: &mut Context, seen: &Seen) {
    if let Event::Message { id, .. } = seen.event {
        context.send(id, FrameKind::Text, &seen.payload).unwrap();
    }
}

#[test]
fn a_raw_client_at_our_server() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listening(OPTIONS)).unwrap();
    let peer = thread::spawn(move || {
        let (mut raw, head) = Raw::connect(port, "permessage-deflate; client_max_window_bits");
        assert!(head.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"));
        for length in [99, 100, 3000, 3000, 200_000] {
            let sent = text(length);
            raw.send(&sent);
            let (rsv, size, got) = raw.receive();
            assert!(got == sent, "{length} bytes came back changed");
            assert_eq!(rsv == RSV1, length >= 100);
            assert!(length < 100 || size < length);
        }
    });
    ours.run(|context, seen| {
        echo(context, seen);
        match seen.event {
            Event::Connect { id, .. } => {
                assert_eq!(context.extensions(id), Some("permessage-deflate"));
                false
            }
            Event::Close { .. } => true,
            _ => false,
        }
    });
    ours.finish(peer);
}

#[test]
fn a_raw_server_at_our_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let head = read_head(&mut stream);
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let key = key.split("\r\n").next().unwrap();
        let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        assert!(head.contains(offer), "{head}");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\r\n\r\n",
            accept_key(key)
        );
        stream.write_all(answer.as_bytes()).unwrap();
        let mut raw = Raw::new(stream, false);
        raw.inflate = Decompress::new_with_window_bits(false, 9);
        for length in [5000, 5000, 50_000] {
            raw.send(&text(length));
            assert!(raw.receive().2 == text(length));
        }
    });
    ours_echoes(
        connecting(port, OPTIONS),
        "permessage-deflate; client_max_window_bits=9",
        peer,
    );
}

fn ours_echoes(options: ConnectOptions, extensions: &str, peer: thread::JoinHandle<()>) {
    let mut ours = Loop::new();
    ours.context.connect(options).unwrap();
    ours.run(|context, seen| {
        echo(context, seen);
        match seen.event {
            Event::Connect { id, .. } => {
                assert_eq!(context.extensions(id), Some(extensions));
                false
            }
            Event::Close { .. } => true,
            _ => false,
        }
    });
    ours.finish(peer);
}

#[test]
fn a_choice_that_was_not_offered_fails_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let head = read_head(&mut stream);
        assert!(!head.contains("Sec-WebSocket-Extensions"), "{head}");
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            accept_key(key.split("\r\n").next().unwrap())
        );
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let mut ours = Loop::new();
    ours.context.connect(connect_options(port)).unwrap();
    ours.run(|_, seen| match seen.event {
        Event::ConnectFailed { .. } => {
            let expected = "server chose an extension that was not offered: 'permessage-deflate'";
            assert_eq!(String::from_utf8_lossy(&seen.payload), expected);
            true
        }
        _ => false,
    });
    ours.finish(peer);
}

#[test]
fn offers_that_cannot_be_accepted_are_declined_and_malformed_ones_refused() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listening(OPTIONS)).unwrap();
    let (_, deaf) = ours.context.listen(listen_options()).unwrap();
    let peer = thread::spawn(move || {
        let (mut raw, head) = Raw::connect(port, "permessage-deflate; server_max_window_bits=8");
        assert!(
            head.starts_with("HTTP/1.1 101") && !head.contains("Extensions"),
            "{head}"
        );
        // Without the extension its bit is reserved.
        raw.send(&text(200));
        let mut answer = Vec::new();
        raw.stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[..4], [0x88, answer[1], 0x03, 0xEA]);
        let (_, head) = Raw::connect(port, "permessage-deflate; =");
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        let (_, head) = Raw::connect(deaf, "permessage-deflate");
        assert!(
            head.starts_with("HTTP/1.1 101") && !head.contains("Extensions"),
            "{head}"
        );
    });
    let mut closed = 0;
    ours.run(|context, seen| {
        if let Event::Connect { id, .. } = seen.event {
            assert_eq!(context.extensions(id), None);
        }
        closed += usize::from(matches!(seen.event, Event::Close { .. }));
        closed == 2
    });
    ours.finish(peer);
}

#[test]
fn an_option_out_of_range_is_refused_by_name() {
    let mut context = Context::new();
    let wrong = DeflateOptions {
        client_max_window_bits: Some(8),
        ..OPTIONS
    };
    let listen = context.listen(listening(wrong)).unwrap_err().to_string();
    assert_eq!(listen, "client_max_window_bits must be 9 to 15, not '8'");
    let wrong = DeflateOptions {
        level: 0,
        ..OPTIONS
    };
    let connect = context
        .connect(connecting(1, wrong))
        .unwrap_err()
        .to_string();
    assert_eq!(connect, "level must be 1 to 9, not '0'");
}

/// Both ends of a connection in one context: the client's id and the server's.
fn both_ends(ours: &mut Loop, deflate: DeflateOptions) -> (Id, Id) {
    let (_, port) = ours.context.listen(listening(deflate)).unwrap();
    let client = ours.context.connect(connecting(port, deflate)).unwrap();
    let (mut connected, mut server) = (0, 0);
    ours.run(|_, seen| {
        if let Event::Connect { id, listener } = seen.event {
            connected += 1;
            if listener.is_some() {
                server = id;
            }
        }
        connected == 2
    });
    (client, server)
}

/// Sends and waits until the other end has it.
fn pass(ours: &mut Loop, from: Id, payload: &[u8]) {
    ours.context.send(from, FrameKind::Text, payload).unwrap();
    ours.run(|_, seen| match seen.event {
        Event::Message { .. } => {
            assert!(seen.payload == payload);
            true
        }
        _ => false,
    });
}

#[test]
fn the_queue_counts_what_goes_on_the_wire() {
    let mut ours = Loop::new();
    let (client, server) = both_ends(&mut ours, OPTIONS);
    for id in [client, server] {
        ours.context
            .send(id, FrameKind::Text, &[b'x'; 10_000])
            .unwrap();
        let queued = ours.context.send_queue_size(id);
        assert!(
            (1..100).contains(&queued),
            "{queued} bytes for 10000 equal ones"
        );
        ours.context.send(id, FrameKind::Text, &[b'x'; 99]).unwrap();
        assert_eq!(ours.context.send_queue_size(id), queued + 99);
    }
    let mut messages = 0;
    ours.run(|_, seen| {
        messages += usize::from(matches!(seen.event, Event::Message { .. }));
        messages == 4
    });
    assert_eq!(ours.context.send_queue_size(client), 0);
}

#[test]
fn a_deadline_ticks_only_while_a_connection_holds_codecs() {
    let mut ours = Loop::new();
    let without = DeflateOptions {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..OPTIONS
    };
    let (client, server) = both_ends(&mut ours, without);
    pass(&mut ours, client, &text(5000));
    pass(&mut ours, server, &text(5000));
    ours.run_until(|context| context.poll_deadline().is_none());

    let (client, server) = both_ends(&mut ours, OPTIONS);
    let talk = |ours: &mut Loop| {
        pass(ours, client, &text(5000));
        pass(ours, server, &text(5000));
        assert!(ours.context.poll_deadline().is_some());
    };
    talk(&mut ours);
    ours.run_until(|context| context.poll_deadline().is_none());
    // Both ends have given their codecs back, and go on with the windows that they kept.
    talk(&mut ours);
}
