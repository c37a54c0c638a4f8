//! The session of a connection against one of rustls's usual form.

use super::*;
use crate::tls::handshake::{HandshakeProgress, HandshakeStep};
use crate::tls::provider;
use evws_proto::connection::{Config, Connection, FrameKind};
use evws_proto::frame::{encode, Opcode};
use evws_proto::Role;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A server of ours, and a client of rustls's usual form at the other end of a pair of sockets.
pub struct Pair {
    pub tls: TlsConnection,
    pub ours: UnixStream,
    pub client: ClientConnection,
    pub theirs: UnixStream,
}

fn configurations(
    version: &'static SupportedProtocolVersion,
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.key_pair.serialize_der().into());
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A message of ours that waits to be sent.
fn queued(payload: &[u8]) -> (ChunkPool, SendQueue) {
    let (mut pool, mut queue) = (ChunkPool::default(), SendQueue::default());
    let mut proto = Connection::new(&Config {
        role: Role::Server,
        max_message_size: 0,
        max_fragments: 0,
        validate_utf8: true,
    });
    let mut scratch = Vec::new();
    let frame = proto.frame(FrameKind::Binary, payload, || [0; 4], &mut scratch);
    queue.append(&mut pool, &frame.unwrap()).unwrap();
    (pool, queue)
}

impl Pair {
    /// Shakes hands, with `step` bytes at a time towards us.
    pub fn new(version: &'static SupportedProtocolVersion, step: usize) -> Self {
        let (server, client) = configurations(version);
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client, name).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let mut rest = hello.split_off(step.min(hello.len()));
        let mut handshake = HandshakeStep::Server(server, hello).take().unwrap();
        loop {
            let outgoing = std::mem::take(&mut handshake.outgoing);
            let mut unread = &outgoing[..];
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets().unwrap();
            }
            match handshake.progress {
                HandshakeProgress::Done => break,
                HandshakeProgress::Waiting => {}
                _ => panic!("the handshake has failed"),
            }
            while client.wants_write() {
                client.write_tls(&mut rest).unwrap();
            }
            assert!(!rest.is_empty(), "both sides wait");
            handshake
                .incoming
                .extend(rest.drain(..step.min(rest.len())));
            handshake = HandshakeStep::Next(handshake).take().unwrap();
        }
        assert!(!client.is_handshaking());
        let (tls, plaintext) = TlsConnection::new(*handshake);
        assert_eq!(plaintext, b"");
        Pair {
            tls,
            ours,
            client,
            theirs,
        }
    }

    /// What we read of what is there, `step` bytes at a time.
    fn receive(&mut self, step: usize) -> Vec<u8> {
        let (mut wire, mut buffer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut received = Vec::new();
        loop {
            let mut first = Vec::with_capacity(100);
            // A part of it goes into a message, the rest into the buffer.
            let mut sink = Sink::new(Some((&mut first, 5)), &mut buffer);
            let mut dry = false;
            let read = |bytes: &mut [u8]| {
                let length = step.min(bytes.len());
                let result = sys::receive(self.ours.as_fd(), &mut bytes[..length]);
                dry = result.is_err();
                result
            };
            let result = self.tls.receive(read, &mut wire, &mut sink);
            if let Ok((direct, length)) = result {
                assert_eq!(first.len(), direct);
                assert!(direct <= 5, "no more than the message lacks");
                assert!(direct == 5 || length == 0, "nor less");
                received.extend(first);
                received.extend(&buffer[..length]);
            }
            if dry || self.tls.has_ended() {
                return received;
            }
        }
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
        while self.client.wants_write() {
            self.client.write_tls(&mut self.theirs).unwrap();
        }
    }

    /// Sends a payload as the hot path does, and returns what the client has of it.
    fn send(&mut self, payload: &[u8]) -> Vec<u8> {
        let (mut pool, mut queue) = queued(payload);
        let mut wire = vec![0; 64 * 1024];
        let mut got = Vec::new();
        loop {
            let mut write = || {
                let ours = self.ours.as_fd();
                let written = self.tls.write(ours, &mut queue, &mut pool, &mut wire);
                let written = written.unwrap();
                assert_eq!(self.tls.wants_write(), written != Written::All);
                written
            };
            // Again, as if the socket was said to have room when it has none.
            let mut written = write();
            for _ in 0..8 {
                written = write();
            }
            while self.client.read_tls(&mut self.theirs).is_ok_and(|n| n > 0) {
                self.client.process_new_packets().unwrap();
                // At the end of what is there it says that it would block.
                let _ = self.client.reader().read_to_end(&mut got);
            }
            if written == Written::All {
                assert_eq!(queue.payload(), 0);
                return got;
            }
            assert!(queue.payload() > 0);
        }
    }
}

#[test]
fn records_may_arrive_in_any_pieces() {
    for version in [&TLS12, &TLS13] {
        for step in [1, 2, 3, 7, 100, 20_000] {
            let mut pair = Pair::new(version, step);
            let sent: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
            pair.client_sends(&sent[..3]);
            pair.client_sends(&sent[3..]);
            assert!(pair.receive(step) == sent, "{step} bytes at a time");
            assert_eq!(pair.tls.partial.capacity(), 0, "nothing is kept");
        }
    }
}

#[test]
fn what_the_kernel_refuses_goes_out_later_and_counts_until_then() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(version, 100);
        let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 3) as u8).collect();
        let mut expected = Vec::new();
        encode(true, Opcode::Binary, &payload, None, &mut expected);
        assert!(pair.send(&payload) == expected);
        assert_eq!(pair.tls.unsent.capacity(), 0, "nothing is kept");
    }
}

#[test]
fn keys_are_changed_by_either_side() {
    let mut pair = Pair::new(&TLS13, 100);
    for round in 0..3 {
        // It asks for new keys of ours, too, which come with what we send next.
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_sends(b"with new keys");
        assert_eq!(pair.receive(11), b"with new keys", "round {round}");
        assert_eq!(pair.send(b"ours")[2..], *b"ours", "round {round}");
    }
}

#[test]
fn close_notify_goes_both_ways_once() {
    let mut pair = Pair::new(&TLS13, 100);
    assert!(pair.tls.notify_end(pair.ours.as_fd()));
    let mut alert = [0; 100];
    let length = pair.theirs.read(&mut alert).unwrap();
    assert!(pair.tls.notify_end(pair.ours.as_fd()));
    assert!(pair.theirs.read(&mut [0; 8]).is_err(), "nothing more");
    pair.client.read_tls(&mut &alert[..length]).unwrap();
    let state = pair.client.process_new_packets().unwrap();
    assert!(state.peer_has_closed());
    pair.client_sends(b"a last word");
    pair.client.send_close_notify();
    pair.client_sends(b"");
    assert_eq!(pair.receive(1000), b"a last word");
    assert!(pair.tls.has_ended() && pair.tls.take_failure().is_none());
}

/// The last record of a closed connection was taken by the kernel, and then there is no room for what says that it is
/// the last: it is said once there is, and once.
#[test]
fn close_notify_waits_for_room() {
    let mut pair = Pair::new(&TLS13, 100);
    let mut filled = 0;
    while let Ok(count) = pair.ours.write(&[0; 1000]) {
        filled += count;
    }
    assert!(!pair.tls.notify_end(pair.ours.as_fd()));
    assert!(!pair.tls.notify_end(pair.ours.as_fd()), "still no room");
    pair.theirs.read_exact(&mut vec![0; filled]).unwrap();
    assert!(pair.tls.notify_end(pair.ours.as_fd()));
    assert!(pair.tls.notify_end(pair.ours.as_fd()));
    pair.client.read_tls(&mut pair.theirs).unwrap();
    let state = pair.client.process_new_packets().unwrap();
    assert!(state.peer_has_closed());
    assert_eq!(pair.tls.unsent.capacity(), 0, "nothing is kept");
}

#[test]
fn a_forged_record_ends_the_session_with_an_alert() {
    let mut pair = Pair::new(&TLS13, 100);
    pair.client_sends(b"before");
    let mut forged = b"\x17\x03\x03\x00\x20".to_vec();
    forged.extend([7; 32]);
    pair.theirs.write_all(&forged).unwrap();
    assert_eq!(pair.receive(1000), b"before");
    assert!(pair.tls.has_ended() && pair.tls.wants_write());
    assert!(pair.tls.take_failure().unwrap().contains("decrypt"));
    assert!(pair.tls.flush(pair.ours.as_fd()).unwrap());
    pair.client.read_tls(&mut pair.theirs).unwrap();
    let told = pair.client.process_new_packets().unwrap_err();
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
    assert!(pair.tls.append(b"no more").is_err());
}

/// Memory for a message is taken as it comes. What has arrived for which there is none yet must not grow it, as large as the peer
/// says that it will be.
#[test]
fn a_message_takes_what_it_has_memory_for() {
    let mut message = Vec::with_capacity(100);
    message.extend([1; 30]);
    let room = message.capacity() - 30;
    let mut buffer = [0; 200];
    let mut sink = Sink::new(Some((&mut message, 10_000)), &mut buffer);
    sink.take(&[2; 50]);
    sink.take(&[3; 60]);
    assert_eq!(sink.filled, (room, 110 - room));
    assert_eq!(message.len(), message.capacity());
    assert_eq!((buffer[109 - room], buffer[110 - room]), (3, 0));
}

/// Records that were shorter than there is room for would be more system calls; longer ones would not fit.
#[test]
fn as_much_is_encrypted_as_there_is_room_for() {
    for room in [
        0,
        1,
        OVERHEAD,
        OVERHEAD + 1,
        RECORD + OVERHEAD,
        3 * (RECORD + OVERHEAD) + 300,
        MAX_WRITE,
    ] {
        let plaintext = plaintext_of(room);
        let records = plaintext.div_ceil(RECORD);
        assert!(plaintext + records * OVERHEAD <= room, "{room}");
        assert!(plaintext + (records + 1) * OVERHEAD >= room, "{room}");
    }
}

/// A message of the handshake may come in many records, each of a few bytes: they are kept up to a limit, whatever was used
/// up before them.
#[test]
fn what_is_kept_of_an_unfinished_message_has_a_limit() {
    const LIMIT: usize = 80 * 1024;
    for (extra, fits) in [(0, true), (6, false)] {
        let (server, client) = configurations(&TLS12);
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client, name).unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        assert!(sent.len() > 6);
        // A message of 65,000 bytes, with one byte of it in each record but the first.
        sent.extend([0x16, 3, 3, 0, 3, 16, 0, 0xFD]);
        let mut message = vec![0xE8];
        message.resize((LIMIT + extra - 8) / 6, 0);
        for byte in message {
            sent.extend([0x16, 3, 3, 0, 1, byte]);
        }
        let handshake = HandshakeStep::Server(server, sent).take().unwrap();
        match &handshake.progress {
            HandshakeProgress::Waiting => assert!(fits),
            HandshakeProgress::Failed(error) => {
                assert!(!fits, "{error}");
                assert!(error.to_string().contains("a message is too long"));
            }
            _ => panic!("what is this?"),
        }
    }
}

#[test]
fn a_stream_that_is_broken_is_told_by_the_first_write() {
    let mut pair = Pair::new(&TLS13, 100);
    let (mut pool, mut queue) = queued(b"x");
    pair.tls.append(b"before it").unwrap();
    drop(pair.theirs);
    let mut wire = vec![0; 64 * 1024];
    let written = pair
        .tls
        .write(pair.ours.as_fd(), &mut queue, &mut pool, &mut wire);
    assert_eq!(written.err().unwrap().kind(), io::ErrorKind::BrokenPipe);
    let mut pair = Pair::new(&TLS13, 100);
    let (mut pool, mut queue) = queued(b"x");
    drop(pair.theirs);
    let written = pair
        .tls
        .write(pair.ours.as_fd(), &mut queue, &mut pool, &mut wire);
    assert_eq!(written.err().unwrap().kind(), io::ErrorKind::BrokenPipe);
}

/// The records that are left over are taken in parts, too.
#[test]
fn a_socket_with_little_room_gets_all_of_it() {
    let mut pair = Pair::new(&TLS13, 100);
    let socket = socket2::SockRef::from(&pair.ours);
    socket.set_send_buffer_size(8 * 1024).unwrap();
    let payload: Vec<u8> = (0..300_000u32).map(|n| (n >> 3) as u8).collect();
    let mut expected = Vec::new();
    encode(true, Opcode::Binary, &payload, None, &mut expected);
    assert!(pair.send(&payload) == expected);
}

/// The peer would take close_notify for an end in order of what was cut off.
#[test]
fn a_session_that_was_given_up_does_not_end_in_order() {
    let mut pair = Pair::new(&TLS13, 100);
    pair.client_sends(&[b'x'; 100]);
    let mut wire = [0; 10];
    for is_full in [false, true] {
        let mut sink = Sink::new(None, &mut []);
        let read = |bytes: &mut [u8]| sys::receive(pair.ours.as_fd(), bytes);
        assert_eq!(
            pair.tls.receive(read, &mut wire, &mut sink).is_ok(),
            is_full
        );
    }
    assert_eq!(
        pair.tls.take_failure().as_deref(),
        Some("a message is too long")
    );
    assert!(pair.tls.notify_end(pair.ours.as_fd()));
    assert!(pair.theirs.read(&mut [0; 8]).is_err());
}
