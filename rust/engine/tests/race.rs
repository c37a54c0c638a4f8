//! A name with several addresses (RFC 8305): who wins, who is tried, and what is left behind.
//!
//! All are addresses of this machine: ones where nobody listens, ones that never answer because
//! the queue of their listener is full, and good ones.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::{connect_options, Loop};
use evws_engine::{ConnectOptions, Event};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite;

/// An address where nobody listens, now or later.
fn refusing(ip: impl Into<IpAddr>) -> SocketAddr {
    let address = SocketAddr::from((ip.into(), 0));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // It keeps the port from everybody else until the tests are over.
    std::mem::forget(socket);
    address
}

/// An address whose listener has no room for a further connection, so that the kernel drops what
/// asks for one. It lasts as long as what keeps it full.
fn silent() -> (SocketAddr, (Socket, Vec<Socket>)) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    // The first that is not taken within a moment shows that there is no more room.
    loop {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        match filler.connect_timeout(&address, Duration::from_millis(200)) {
            Ok(()) => fillers.push(filler),
            Err(_) => return (address.as_socket().unwrap(), (listener, fillers)),
        }
        assert!(fillers.len() < 100, "the listener takes everybody");
    }
}

/// An address where one client is upgraded and then closed with code 4000.
fn good(ip: impl Into<IpAddr>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((ip.into(), 0_u16)).unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let mut peer = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        let code = tungstenite::protocol::frame::coding::CloseCode::from(4000);
        let reason = "".into();
        peer.close(Some(tungstenite::protocol::CloseFrame { code, reason }))
            .unwrap();
        while peer.read().is_ok() {}
    });
    (address, peer)
}

fn to(addresses: &[SocketAddr]) -> ConnectOptions {
    ConnectOptions {
        url: b"ws://server.example/".to_vec(),
        addresses: Some(addresses.to_vec()),
        ..connect_options(0)
    }
}

/// What came of a connection: where it went, or why not.
fn outcome(ours: &mut Loop, options: ConnectOptions) -> Result<IpAddr, String> {
    let id = ours.context.connect(options).unwrap();
    let mut outcome = None;
    ours.run(|context, seen| {
        match seen.event {
            Event::Connect { .. } => outcome = context.peer(id).and_then(|peer| peer.ip()).map(Ok),
            Event::ConnectFailed { .. } => {
                outcome = Some(Err(String::from_utf8(seen.payload.clone()).unwrap()));
            }
            _ => return false,
        }
        true
    });
    outcome.unwrap()
}

/// Ends the connection that was made, and sees that nothing is left of the race.
fn end(mut ours: Loop, peer: JoinHandle<()>) {
    ours.run(|_, seen| matches!(seen.event, Event::Close { code: 4000, .. }));
    ours.run_dry();
    peer.join().unwrap();
}

#[test]
fn the_next_is_tried_at_once_when_one_refuses() {
    let (address, peer) = good(Ipv4Addr::LOCALHOST);
    let refused = [
        refusing(Ipv4Addr::LOCALHOST),
        refusing(Ipv4Addr::LOCALHOST),
        refusing(Ipv6Addr::LOCALHOST),
    ];
    let mut ours = Loop::new();
    let all = [&refused[..], &[address]].concat();
    assert_eq!(outcome(&mut ours, to(&all)), Ok(Ipv4Addr::LOCALHOST.into()));
    end(ours, peer);
}

#[test]
fn one_that_never_answers_is_not_waited_for() {
    for ip in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        let (address, peer) = good(ip);
        let (first, _first) = silent();
        let (second, _second) = silent();
        let mut ours = Loop::new();
        assert_eq!(outcome(&mut ours, to(&[first, second, address])), Ok(ip));
        end(ours, peer);
    }
}

#[test]
fn the_first_good_one_is_the_only_one() {
    let (address, peer) = good(Ipv4Addr::LOCALHOST);
    let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    second.set_nonblocking(true).unwrap();
    let mut ours = Loop::new();
    let all = [address, second.local_addr().unwrap()];
    assert_eq!(outcome(&mut ours, to(&all)), Ok(Ipv4Addr::LOCALHOST.into()));
    end(ours, peer);
    assert_eq!(
        second.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn each_address_has_its_error() {
    let addresses = [
        refusing(Ipv6Addr::LOCALHOST),
        refusing(Ipv4Addr::LOCALHOST),
        refusing(Ipv4Addr::LOCALHOST),
    ];
    let mut ours = Loop::new();
    let text = outcome(&mut ours, to(&addresses)).unwrap_err();
    assert!(
        text.starts_with("cannot connect to server.example: connect to [::1]:"),
        "{text}"
    );
    for address in addresses {
        let expected = format!("connect to {address}: Connection refused");
        assert!(text.contains(&expected), "{text} lacks {expected}");
    }
    ours.run_dry();
}

#[test]
fn a_deadline_ends_all_attempts() {
    let (first, _first) = silent();
    let (second, _second) = silent();
    let mut ours = Loop::new();
    let options = ConnectOptions {
        // Long enough for both to be under way.
        timeout: Some(Duration::from_millis(400)),
        ..to(&[first, second])
    };
    assert_eq!(outcome(&mut ours, options), Err("connect timeout".into()));
    ours.run_dry();
}

#[test]
fn a_context_may_go_in_the_middle_of_a_race() {
    let (first, _first) = silent();
    let (second, _second) = silent();
    let mut ours = Loop::new();
    ours.context.connect(to(&[first, second])).unwrap();
    ours.turn();
    assert_eq!(ours.watched(), 1, "one attempt is under way");
    ours.context.shut_down(false);
    assert!(ours.context.poll_event().is_none());
}

#[test]
fn many_races_at_once() {
    let mut ours = Loop::new();
    let (silent, _silent) = silent();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let (address, peer) = good(Ipv4Addr::LOCALHOST);
        peers.push(peer);
        let all = [refusing(Ipv4Addr::LOCALHOST), silent, address];
        ours.context.connect(to(&all)).unwrap();
    }
    let mut closed = 0;
    ours.run(|_, seen| {
        closed += u32::from(matches!(seen.event, Event::Close { code: 4000, .. }));
        closed == 20
    });
    ours.run_dry();
    for peer in peers {
        peer.join().unwrap();
    }
}
