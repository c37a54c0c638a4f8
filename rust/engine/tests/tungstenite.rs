//! Both roles against an independent implementation: tokio-tungstenite in a thread of its own.

mod common;

use std::thread;

use common::{connect_options, listen_options, Loop, Seen};
use evws_engine::{Context, Event, FrameKind};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{accept_async, connect_async};

// tokio-tungstenite brings these with it.
use futures_util::{SinkExt, StreamExt};

const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000, 2_000_000];

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Sends every size as binary and as text, expects each back, then closes with a reason.
async fn talk<S>(mut peer: tokio_tungstenite::WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for size in SIZES {
        for message in [
            Message::binary(payload(size)),
            Message::text("\u{20ac}x".repeat(size / 4)),
            Message::Ping(payload(size.min(125)).into()),
        ] {
            peer.send(message.clone()).await.unwrap();
            let answer = peer.next().await.unwrap().unwrap();
            match (message, answer) {
                (Message::Ping(sent), Message::Pong(got)) => assert_eq!(sent, got),
                (sent, got) => assert!(sent == got, "{size} bytes came back changed"),
            }
        }
    }
    let frame = CloseFrame {
        code: CloseCode::Iana(3210),
        reason: "enough".into(),
    };
    peer.close(Some(frame.clone())).await.unwrap();
    loop {
        match peer.next().await {
            Some(Ok(Message::Close(answer))) => {
                assert_eq!(answer.map(|answer| answer.code), Some(frame.code));
            }
            Some(Ok(other)) => panic!("after a Close: {other}"),
            Some(Err(_)) | None => return,
        }
    }
}

fn echo(context: &mut Context, seen: &Seen) {
    if let Event::Message { id, binary } = seen.event {
        let kind = if binary {
            FrameKind::Binary
        } else {
            FrameKind::Text
        };
        context.send(id, kind, &seen.payload).unwrap();
    }
}

#[test]
fn its_client_at_our_server() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let peer = thread::spawn(move || {
        runtime().block_on(async {
            let url = format!("ws://127.0.0.1:{port}/");
            talk(connect_async(url).await.unwrap().0).await;
        });
    });
    let mut connects = 0;
    ours.run(|context, seen| {
        echo(context, seen);
        match seen.event {
            Event::Connect { listener, .. } => {
                assert!(listener.is_some());
                connects += 1;
                false
            }
            Event::Close { code, .. } => {
                assert_eq!((code, &seen.payload[..]), (3210, &b"enough"[..]));
                true
            }
            _ => false,
        }
    });
    assert_eq!(connects, 1);
    ours.finish(peer);
}

#[test]
fn its_server_at_our_client() {
    let (tell, told) = std::sync::mpsc::channel();
    let peer = thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            talk(
                accept_async(listener.accept().await.unwrap().0)
                    .await
                    .unwrap(),
            )
            .await;
        });
    });
    let mut ours = Loop::new();
    let id = ours
        .context
        .connect(connect_options(told.recv().unwrap()))
        .unwrap();
    ours.run(|context, seen| {
        echo(context, seen);
        match seen.event {
            Event::Close { id: closed, code } => {
                assert_eq!(
                    (closed, code, &seen.payload[..]),
                    (id, 3210, &b"enough"[..])
                );
                true
            }
            _ => false,
        }
    });
    ours.finish(peer);
}

#[test]
fn fragments_become_one_message_at_the_other_end() {
    let mut ours = Loop::new();
    let (_, port) = ours.context.listen(listen_options()).unwrap();
    let peer = thread::spawn(move || {
        runtime().block_on(async {
            let url = format!("ws://127.0.0.1:{port}/");
            let (mut peer, _) = connect_async(url).await.unwrap();
            assert_eq!(
                peer.next().await.unwrap().unwrap(),
                Message::text("one, two, three")
            );
            assert_eq!(
                peer.next().await.unwrap().unwrap(),
                Message::Ping("between".into())
            );
            peer.close(None).await.unwrap();
            while let Some(Ok(_)) = peer.next().await {}
        });
    });
    ours.run(|context, seen| match seen.event {
        Event::Connect { id, .. } => {
            let part = |last| FrameKind::Fragment {
                binary: false,
                last,
            };
            context.send(id, part(false), b"one, ").unwrap();
            context.send(id, part(false), b"two, ").unwrap();
            assert!(context.send(id, FrameKind::Text, b"no").is_err());
            context.send(id, part(true), b"three").unwrap();
            context.send(id, FrameKind::Ping, b"between").unwrap();
            assert_eq!(context.send_queue_size(id), 22);
            false
        }
        Event::Close { code, .. } => {
            assert_eq!(code, 1005);
            true
        }
        _ => false,
    });
    ours.finish(peer);
}
