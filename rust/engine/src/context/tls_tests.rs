//! TLS of a context: with a client of rustls's usual form, and our own ends with each other.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use data_encoding::BASE64_MIME;
use evws_proto::connection::FrameKind;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::arrival_tests::{events, listening, peer, PLAIN, REQUEST};
use super::common::{connect_options, listen_options, Loop, Seen};
use crate::event::RejectCause;
use crate::tls::client_verifier::{verifier, VerifyClient};
use crate::tls::server::ServerTls;
use crate::{usual_response, ClientTls, Context, Event};

/// A section of a PEM file.
fn pem(label: &str, der: &[u8]) -> String {
    let lines = BASE64_MIME.encode(der);
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

/// A certificate for `localhost` with its key, in files of their own.
struct Certificate {
    folder: PathBuf,
    der: rustls::pki_types::CertificateDer<'static>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("evws-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = pem("PRIVATE KEY", &made.key_pair.serialize_der());
        std::fs::write(folder.join("cert"), pem("CERTIFICATE", made.cert.der())).unwrap();
        std::fs::write(folder.join("key"), key).unwrap();
        let der = made.cert.der().clone();
        Certificate { folder, der }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn server(&self) -> Option<ServerTls> {
        Some(ServerTls {
            cert: self.file("cert"),
            key: self.file("key"),
            ..ServerTls::default()
        })
    }

    /// A client of rustls's usual form, which does this on a thread of its own.
    fn client<T: Send + 'static>(
        &self,
        port: u16,
        act: impl FnOnce(&mut StreamOwned<ClientConnection, TcpStream>) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configuration = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(configuration), name).unwrap();
        thread::spawn(move || {
            let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            act(&mut StreamOwned::new(session, socket))
        })
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A stream that ends without close_notify may have been cut by anybody on the way, so a client need not believe the answer.
#[test]
fn an_answer_by_tls_ends_with_close_notify() {
    let certificate = Certificate::new("answer");
    let mut options = listen_options();
    options.tls = certificate.server();
    let (mut ours, listener, port) = listening(options);
    assert!(ours.context.listener_is_secure(listener));
    let client = certificate.client(port, |stream| {
        stream.write_all(PLAIN.as_bytes()).unwrap();
        let mut answer = String::new();
        // It fails at an end without close_notify.
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    });
    ours.run_until(|context| context.rejected(None)[RejectCause::Request.index()] == 1);
    ours.finish(client);
}

/// A program that decides by a client's certificate, or by how it is secured, has to see both before it answers.
#[test]
fn a_program_that_is_asked_knows_the_tls_of_its_client() {
    let certificate = Certificate::new("asked");
    for (ask, serve, request) in [(true, false, REQUEST), (false, true, PLAIN)] {
        let mut options = listen_options();
        options.tls = certificate.server();
        options.upgrade.ask = ask;
        options.serve = serve;
        let (mut ours, _, port) = listening(options);
        let client = certificate.client(port, move |stream| {
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
        });
        ours.run(|context, seen| {
            let id = match seen.event {
                Event::Handshake { id, .. } | Event::Request { id, .. } => id,
                _ => return false,
            };
            assert_eq!(context.arrivals.handshaking(), 0, "it is done");
            let tls = context.tls(id).expect("what was agreed on");
            assert_eq!(tls.version, "TLSv1.3");
            assert_eq!(tls.server_name, Some("localhost"));
            assert_eq!(context.peer(id).unwrap().ip(), Some([127, 0, 0, 1].into()));
            if serve {
                assert!(context.request().unwrap().1, "it came by TLS");
                assert!(context.answer_request(id, usual_response(200)).unwrap());
            } else {
                assert!(context.accept_handshake(id, Vec::new(), None).unwrap());
            }
            true
        });
        ours.finish(client);
    }
}

/// Messages go through TLS in both directions, and the client knows by which certificate.
#[test]
fn our_client_and_our_server_speak_tls() {
    let certificate = Certificate::new("both");
    let mut options = listen_options();
    options.tls = certificate.server();
    let (mut ours, _, port) = listening(options);
    let mut options = connect_options(port);
    options.url = format!("wss://localhost:{port}/").into_bytes();
    options.addresses = Some(vec![([127, 0, 0, 1], port).into()]);
    options.tls = ClientTls {
        verify: true,
        ca: Some(certificate.file("cert")),
        ..ClientTls::default()
    };
    let client = ours.context.connect(options).unwrap();
    let echoed = events_with(&mut ours, |context, seen| match seen.event {
        Event::Connect { id, listener } => {
            assert_eq!(listener.is_none(), id == client);
            let tls = context.tls(id).unwrap();
            assert_eq!(tls.server_name, Some("localhost"));
            let shown = tls.certificate.map(<[u8]>::to_vec);
            assert_eq!(shown.is_some(), id == client);
            assert_eq!(tls.verified, id == client);
            if id == client {
                assert_eq!(shown.as_deref(), Some(&certificate.der[..]));
                context.send(id, FrameKind::Text, b"hello").unwrap();
            }
            false
        }
        Event::Message { id, .. } if id == client => true,
        Event::Message { id, .. } => {
            context.send(id, FrameKind::Text, &seen.payload).unwrap();
            false
        }
        _ => false,
    });
    assert_eq!(echoed.payload, b"hello");
}

/// Runs until `act` has seen what it waits for.
fn events_with(ours: &mut Loop, mut act: impl FnMut(&mut Context, &Seen) -> bool) -> Seen {
    let mut last = None;
    ours.run(|context, seen| {
        let done = act(context, seen);
        last = Some(seen.clone());
        done
    });
    last.unwrap()
}

/// The arithmetic of many handshakes held up everybody else's messages; for a few of them a thread is more than they cost.
#[test]
fn more_than_four_handshakes_at_once_go_to_other_threads() {
    let certificate = Certificate::new("many");
    let mut options = listen_options();
    options.tls = certificate.server();
    let (mut ours, _, port) = listening(options);
    // The beginning of a hello: each of them waits for the rest of it.
    let begin = || peer(port, "\x16\x03\x01\x02");
    let mut peers = Vec::new();
    for number in 1..=5 {
        peers.push(begin());
        ours.run_until(|context| context.arrivals.handshaking() == number);
        let elsewhere = ours.context.arrivals.has_threads();
        assert_eq!(elsewhere, number > 4, "{number} handshakes");
    }
    drop(peers);
    ours.run_until(|context| context.handshakes(None) == 0);
    assert_eq!(ours.context.arrivals.handshaking(), 0);
}

/// What stands in the head of a request may all be in one record, which comes in parts.
/// Where plaintext went as far as there was memory for it, none was asked for before the upgrade, and the first of it was a
/// panic.
#[test]
fn a_request_may_come_in_one_large_record() {
    let certificate = Certificate::new("large");
    let mut options = listen_options();
    options.tls = certificate.server();
    let (mut ours, _, port) = listening(options);
    let padding = format!("Host: h\r\nCookie: {}", "c".repeat(6000));
    let request = REQUEST.replace("Host: h", &padding);
    let client = certificate.client(port, move |stream| {
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
    });
    events(&mut ours, |event| matches!(event, Event::Connect { .. }));
    ours.finish(client);
}

/// A client with several certificates finds by that the one that will do.
#[test]
fn a_client_is_told_which_roots_its_certificate_may_have() {
    let certificate = Certificate::new("roots");
    let roots = certificate.file("cert");
    for (verify, is_needed) in [
        (VerifyClient::Required, true),
        (VerifyClient::Optional, false),
    ] {
        let made = verifier(verify, Some(&roots)).unwrap().unwrap();
        assert!(made.offer_client_auth());
        assert_eq!(made.client_auth_mandatory(), is_needed);
        assert_eq!(made.root_hint_subjects().len(), 1);
    }
    assert!(verifier(VerifyClient::No, Some(&roots)).unwrap().is_none());
}

/// A port that is no server of TLS closes as a rule, and that says more than the system's word for an end.
#[test]
fn a_server_that_closes_in_the_middle_of_a_handshake_is_told_as_that() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut ours = Loop::new();
    let mut options = connect_options(port);
    options.url = format!("wss://127.0.0.1:{port}/").into_bytes();
    let id = ours.context.connect(options).unwrap();
    let server = thread::spawn(move || {
        let (mut peer, _) = server.accept().unwrap();
        // The whole hello, so that it ends without a reset.
        let mut header = [0; 5];
        peer.read_exact(&mut header).unwrap();
        let length = usize::from(header[3]) << 8 | usize::from(header[4]);
        peer.read_exact(&mut vec![0; length]).unwrap();
    });
    let failed = Event::ConnectFailed { id };
    let told = events(&mut ours, |event| *event == failed).pop().unwrap();
    let text = String::from_utf8(told.payload).unwrap();
    assert_eq!(
        text,
        "TLS handshake with 127.0.0.1: the server closed the connection"
    );
    server.join().unwrap();
}
