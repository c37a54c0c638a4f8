//! A small loop around a context, as a program's event loop would drive it: poll(2), then all
//! events, then all watches.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evws_engine::{
    BindAddress, ConnectOptions, Context, Event, Id, Interest, Limits, ListenOptions, Settings,
    UpgradeOptions, Wants,
};

/// How long a test may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// An event with what it carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub event: Event,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

pub struct Loop {
    pub context: Context,
    watches: HashMap<Id, (i32, Interest)>,
    started: Instant,
}

impl Loop {
    pub fn new() -> Self {
        Loop {
            context: Context::new(),
            watches: HashMap::new(),
            started: Instant::now(),
        }
    }

    /// Runs until `act`, which sees every event and may call anything, says that it is done.
    pub fn run(&mut self, mut act: impl FnMut(&mut Context, &Seen) -> bool) {
        loop {
            self.context.handle_prepare();
            if self.deliver(&mut act) {
                return;
            }
            self.wait();
            if self.deliver(&mut act) {
                return;
            }
        }
    }

    /// Runs until there is nothing to deliver and `done` holds.
    pub fn run_until(&mut self, done: impl Fn(&Context) -> bool) {
        loop {
            self.context.handle_prepare();
            self.deliver(&mut |_, _| false);
            if done(&self.context) {
                return;
            }
            self.wait();
        }
    }

    /// Goes on until the peer's thread has ended: the last bytes may still be on their way.
    pub fn finish(mut self, peer: JoinHandle<()>) {
        while !peer.is_finished() {
            self.deliver(&mut |_, _| false);
            self.wait();
        }
        peer.join().unwrap();
    }

    /// Goes on until nothing is watched any more and no deadline is left.
    pub fn run_dry(&mut self) {
        self.deliver(&mut |_, _| false);
        while !self.watches.is_empty() || self.context.poll_deadline().is_some() {
            self.wait();
            self.deliver(&mut |_, _| false);
        }
    }

    /// One turn without waiting for anything.
    pub fn turn(&mut self) {
        self.context.handle_prepare();
        self.deliver(&mut |_, _| false);
    }

    /// How many descriptors are watched.
    pub fn watched(&self) -> usize {
        self.watches.len()
    }

    fn deliver(&mut self, act: &mut impl FnMut(&mut Context, &Seen) -> bool) -> bool {
        let mut done = self.events(act);
        if !done {
            self.context.flush();
            done = self.events(act);
        }
        while let Some(watch) = self.context.poll_watch() {
            match watch.interest {
                Some(interest) => self.watches.insert(watch.token, (watch.fd, interest)),
                None => self.watches.remove(&watch.token),
            };
        }
        done
    }

    fn events(&mut self, act: &mut impl FnMut(&mut Context, &Seen) -> bool) -> bool {
        while let Some(event) = self.context.poll_event() {
            let seen = Seen {
                event,
                payload: self.context.payload().to_vec(),
                headers: self.context.headers().clone(),
            };
            if act(&mut self.context, &seen) {
                return true;
            }
        }
        false
    }

    fn wait(&mut self) {
        assert!(self.started.elapsed() < PATIENCE, "the test hangs");
        let tokens: Vec<Id> = self.watches.keys().copied().collect();
        let mut fds: Vec<libc::pollfd> = tokens
            .iter()
            .map(|token| {
                let (fd, interest) = self.watches[token];
                let read = if interest.bits() & 1 != 0 {
                    libc::POLLIN
                } else {
                    0
                };
                let write = if interest.bits() & 2 != 0 {
                    libc::POLLOUT
                } else {
                    0
                };
                // One that waits for nothing is left out: poll(2) would report its end for ever.
                let fd = if read | write == 0 { -1 } else { fd };
                libc::pollfd {
                    fd,
                    events: read | write,
                    revents: 0,
                }
            })
            .collect();
        let until = self.context.poll_deadline().unwrap_or(Duration::MAX);
        // Short enough to notice the end of a peer's thread.
        let timeout = until.min(Duration::from_millis(50)).as_millis() as i32;
        // SAFETY: the pointer and length are those of a live vector.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
        self.context.handle_timeout();
        for (token, fd) in tokens.iter().zip(&fds) {
            let ended = fd.revents & (libc::POLLERR | libc::POLLHUP) != 0;
            let readable = ended || fd.revents & libc::POLLIN != 0;
            let writable = ended || fd.revents & libc::POLLOUT != 0;
            if readable || writable {
                self.context.handle_io(*token, readable, writable);
                return;
            }
        }
    }
}

pub fn settings() -> Settings {
    Settings {
        max_message_size: 0,
        validate_utf8: true,
        wants: Wants {
            drain: true,
            pong: true,
            message: true,
            reject: false,
            limit: false,
            dropped: true,
        },
        deflate: None,
        limits: Rc::new(limits()),
    }
}

pub fn limits() -> Limits {
    Limits {
        close_timeout: Some(Duration::from_secs(5)),
        ..Limits::default()
    }
}

pub fn connect_options(port: u16) -> ConnectOptions {
    ConnectOptions {
        url: format!("ws://127.0.0.1:{port}/").into_bytes(),
        addresses: None,
        protocols: Vec::new(),
        headers: Vec::new(),
        timeout: Some(Duration::from_secs(30)),
        tls: evws_engine::ClientTls::default(),
        server_name: None,
        settings: settings(),
    }
}

pub fn listen_options() -> ListenOptions {
    ListenOptions {
        place: BindAddress::Port {
            hosts: Vec::new(),
            port: 0,
            reuse_port: false,
        },
        backlog: None,
        upgrade: UpgradeOptions {
            protocols: Vec::new(),
            headers: Vec::new(),
            origins: None,
            hosts: None,
            trusted_proxies: None,
            ask_origin: false,
            ask: false,
            timeout: Some(Duration::from_secs(30)),
            settings: settings(),
        },
        serve: false,
        tls: None,
        proxy_heads: evws_engine::ProxyHeads::Unknown,
        max_connections: 0,
        max_connections_per_address: 0,
        max_handshakes: 0,
    }
}
