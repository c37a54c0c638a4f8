//! tungstenite as the other end, and as a second opinion on every sequence of frames.

mod common;
#[path = "common/theirs.rs"]
mod theirs;

use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::frame::{encode_header, Header, Opcode};
use evws_proto::handshake::{
    encode_response, generate_key, parse_request, parse_response, ClientRequest, HeadLimits,
};
use evws_proto::{mask, Connection, Role};
use proptest::prelude::*;
use std::io::{self, Read, Write};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role as TheirRole, WebSocket};
use tungstenite::{HandshakeError, Message};

/// A stream in memory: what was put in can be read, what was written is collected.
#[derive(Default)]
struct Stream {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.input.len());
        buffer[..count].copy_from_slice(&self.input[..count]);
        self.input.drain(..count);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn their_end(role: Role) -> WebSocket<Stream> {
    let role = match role {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    };
    WebSocket::from_raw_socket(Stream::default(), role, None)
}

/// All they find in `wire`.
fn they_read(socket: &mut WebSocket<Stream>, wire: &[u8]) -> Vec<Event> {
    socket.get_mut().input.extend_from_slice(wire);
    theirs::read_all(socket)
}

fn without_codes(events: Vec<Event>) -> Vec<Event> {
    let blank = |event| {
        if matches!(event, Event::Failed(..)) {
            Event::Failed(0, "")
        } else {
            event
        }
    };
    events.into_iter().map(blank).collect()
}

const BOTH: [(Role, Role); 2] = [(Role::Client, Role::Server), (Role::Server, Role::Client)];

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn they_understand_what_we_send() {
    for (ours, their_role) in BOTH {
        let mut connection = Connection::new(&config(ours));
        let mut out = Vec::new();
        let long = "\u{20ac}".repeat(30_000);
        connection
            .send(FrameKind::Text, "gr\u{fc}\u{df}e".as_bytes(), KEY, &mut out)
            .unwrap();
        connection
            .send(FrameKind::Binary, &[0xFF; 200], KEY, &mut out)
            .unwrap();
        connection
            .send(FrameKind::Text, long.as_bytes(), KEY, &mut out)
            .unwrap();
        connection
            .send(
                FrameKind::Fragment {
                    binary: true,
                    last: false,
                },
                b"ab",
                KEY,
                &mut out,
            )
            .unwrap();
        connection
            .send(FrameKind::Ping, b"ping", KEY, &mut out)
            .unwrap();
        connection
            .send(FrameKind::Pong, b"pong", KEY, &mut out)
            .unwrap();
        connection
            .send(
                FrameKind::Fragment {
                    binary: true,
                    last: true,
                },
                b"cd",
                KEY,
                &mut out,
            )
            .unwrap();
        connection
            .close(Some(3000), b"done", || KEY, &mut out)
            .unwrap();
        let mut socket = their_end(their_role);
        let expected = [
            text("gr\u{fc}\u{df}e"),
            binary(&[0xFF; 200]),
            text(&long),
            Event::Ping(b"ping".to_vec()),
            Event::Pong(b"pong".to_vec()),
            binary(b"abcd"),
            Event::Close(Some(3000), b"done".to_vec()),
        ];
        assert_eq!(they_read(&mut socket, &out), expected);
        // What they answered by themselves: a Pong and the Close.
        let _ = socket.flush();
        let answers = feed(&mut connection, &socket.get_ref().output);
        assert_eq!(
            answers,
            [
                Event::Pong(b"ping".to_vec()),
                Event::Close(Some(3000), b"done".to_vec())
            ]
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn we_understand_what_they_send() {
    for (ours, their_role) in BOTH {
        let mut socket = their_end(their_role);
        let fragment = |data: &'static [u8], opcode, fin| {
            Message::Frame(Frame::message(data, OpCode::Data(opcode), fin))
        };
        let sent = [
            Message::text("\u{1f600}"),
            Message::binary(vec![1; 70_000]),
            fragment(b"\xE2", Data::Text, false),
            Message::Ping("between".into()),
            fragment(b"\x82\xAC", Data::Continue, true),
            Message::Close(Some(CloseFrame {
                code: 1001.into(),
                reason: "leaving".into(),
            })),
        ];
        for message in sent {
            socket.send(message).unwrap();
        }
        let expected = [
            text("\u{1f600}"),
            binary(&[1; 70_000]),
            Event::Ping(b"between".to_vec()),
            text("\u{20ac}"),
            Event::Close(Some(1001), b"leaving".to_vec()),
        ];
        assert_every_way_but_bytes(ours, &socket.get_ref().output, &expected);
    }
}

fn assert_every_way_but_bytes(role: Role, wire: &[u8], expected: &[Event]) {
    for portion in [1, 3, 1000, 65536, wire.len()] {
        let cuts: Vec<usize> = (portion..wire.len()).step_by(portion).collect();
        assert_eq!(
            feed_cut(Connection::new(&config(role)), wire, &cuts),
            expected,
            "portions of {portion}"
        );
    }
    assert_eq!(
        feed_direct(Connection::new(&config(role)), wire, 5000),
        expected,
        "direct reads"
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "there the answer to every key is that of the RFC's example"
)]
fn our_server_answers_their_client() {
    let uri: tungstenite::http::Uri = "ws://localhost:9/a%20b?c=d".parse().unwrap();
    let request = tungstenite::client::ClientRequestBuilder::new(uri)
        .with_header("X-Own", "1")
        .with_sub_protocol("chat");
    let Err(HandshakeError::Interrupted(mut waiting)) =
        tungstenite::client(request, Stream::default())
    else {
        panic!("they wait for the answer");
    };
    let sent = std::mem::take(&mut waiting.get_mut().get_mut().output);
    let (length, request) = parse_request(&sent, HeadLimits::default())
        .unwrap()
        .unwrap();
    assert_eq!(length, sent.len());
    assert_eq!(request.target, "/a%20b?c=d");
    assert_eq!(request.protocols, ["chat"]);
    assert!(request
        .headers
        .contains(&("Path".to_owned(), b"/a b".to_vec())));
    assert!(request
        .headers
        .contains(&("Host".to_owned(), b"localhost:9".to_vec())));
    waiting.get_mut().get_mut().input = encode_response(
        &request,
        Some("chat"),
        None,
        &[("X-Own".into(), b"2".to_vec())],
    );
    let (_, response) = waiting.handshake().expect("they accept the answer");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(response.headers()["x-own"], "2");
}

#[test]
#[cfg_attr(
    miri,
    ignore = "there the answer to every key is that of the RFC's example"
)]
fn their_server_answers_our_client() {
    let request = ClientRequest {
        host: "localhost".to_owned(),
        target: "/x?y".to_owned(),
        protocols: Vec::new(),
        headers: vec![("x-own".to_owned(), b"1".to_vec())],
        deflate: None,
        ..ClientRequest::default()
    };
    request.check().unwrap();
    let key = generate_key();
    let stream = Stream {
        input: request.encode(&key),
        output: Vec::new(),
    };
    let socket = tungstenite::accept(stream).expect("they accept the request");
    let answer = [&socket.get_ref().output[..], b"frames"].concat();
    let (length, response) = parse_response(&answer, &key, &request).unwrap().unwrap();
    assert_eq!(&answer[length..], b"frames");
    assert_eq!(response.protocol, None);
    assert!(parse_response(&answer, &generate_key(), &request).is_err());
}

/// One frame, right or wrong.
#[derive(Clone, Debug)]
struct AnyFrame {
    first: u8,
    payload: Vec<u8>,
}

fn any_frame() -> impl Strategy<Value = AnyFrame> {
    // Mostly what makes sense, so that sequences go on; every opcode and RSV bit now and then.
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x80u8, 0x00, 0x81, 0x01, 0x82, 0x02, 0x89, 0x8A]),
        1 => Just(0x88u8),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        6 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => Just("\u{20ac}".as_bytes()[..2].to_vec()),
        2 => Just("\u{20ac}".as_bytes()[2..].to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..5),
        1 => Just(vec![b'x'; 126]),
    ];
    (first, payload).prop_map(|(first, payload)| AnyFrame { first, payload })
}

fn encode(frames: &[AnyFrame], receiver: Role) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        let mask = (receiver == Role::Server).then_some(KEY);
        let start = wire.len();
        let payload_len = frame.payload.len() as u64;
        encode_header(
            &Header {
                fin: true,
                rsv: 0,
                opcode: Opcode::Text,
                mask,
                payload_len,
            },
            &mut wire,
        );
        wire[start] = frame.first;
        match mask {
            Some(key) => mask::copy_masked(key, &frame.payload, &mut wire),
            None => wire.extend_from_slice(&frame.payload),
        }
    }
    wire
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 2000 }))]

    #[test]
    fn we_judge_frames_as_they_do(frames in prop::collection::vec(any_frame(), 0..12)) {
        for receiver in [Role::Client, Role::Server] {
            let wire = encode(&frames, receiver);
            let our_events = without_codes(feed_cut(Connection::new(&config(receiver)), &wire, &[]));
            prop_assert_eq!(our_events, they_read(&mut their_end(receiver), &wire));
        }
    }
}

#[test]
fn opcodes_have_the_same_numbers() {
    for (ours, their_code) in [
        (Opcode::Continuation, OpCode::Data(Data::Continue)),
        (Opcode::Text, OpCode::Data(Data::Text)),
        (Opcode::Binary, OpCode::Data(Data::Binary)),
        (Opcode::Close, OpCode::Control(Control::Close)),
        (Opcode::Ping, OpCode::Control(Control::Ping)),
        (Opcode::Pong, OpCode::Control(Control::Pong)),
    ] {
        assert_eq!(ours as u8, u8::from(their_code));
        assert_eq!(Opcode::from_bits(ours as u8), Some(ours));
    }
}
