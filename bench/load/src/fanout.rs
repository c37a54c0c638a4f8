//! One message to many: a connection that asks for it, and all others, which read it.

use crate::frame::{self, Masks, BINARY};
use crate::process::Process;
use crate::sys::{self, Epoll};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What to do; see the usage text.
pub struct Options {
    pub port: u16,
    pub connections: usize,
    pub messages: u8,
    pub rounds: usize,
    pub size: usize,
    /// Whether the others ask for compression.
    pub deflate: bool,
    pub timeout: Duration,
    pub server: Option<Process>,
}

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";

/// Rounds before anything is measured.
const WARM_UP: usize = 20;

/// Runs the rounds and prints what a delivery took.
pub fn run(options: &Options) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let mut masks = Masks::new(1);
    let mut payload: Vec<u8> = (0..options.size).map(|at| b'a' + (at % 23) as u8).collect();
    payload[0] = options.messages;
    let mut sender = frame::open_upgraded(options.port)?;
    let mut epoll = Epoll::new()?;
    let mut streams = Vec::with_capacity(options.connections);
    for token in 0..options.connections {
        let headers = if options.deflate { OFFER } else { "" };
        let stream = frame::open_upgraded_with(options.port, headers)?;
        stream.set_nonblocking(true)?;
        epoll.add(stream.as_raw_fd(), token)?;
        streams.push(stream);
    }
    let one = [frame::server_header(BINARY, options.size), payload.clone()].concat();
    // A compressed message is what the first one is: that it is right is for the tests to say.
    let mut expected = if options.deflate {
        Vec::new()
    } else {
        one.repeat(options.messages.into())
    };
    let deadline = Instant::now() + options.timeout;
    let (mut buffer, mut ready, mut out) = (vec![0; 1 << 20], Vec::new(), Vec::new());
    let mut began = (Instant::now(), 0);
    for round in 0..WARM_UP + options.rounds {
        if round == WARM_UP {
            began = (Instant::now(), cpu(options)?);
        }
        out.clear();
        frame::push_frame(&mut out, BINARY, &payload, masks.next());
        sender.write_all(&out)?;
        let mut got = vec![0; options.connections];
        let mut missing = options.connections;
        while missing > 0 {
            epoll.wait(1000, &mut ready)?;
            if Instant::now() > deadline {
                return Err(frame::wrong(format!("{missing} connections wait in vain")));
            }
            for at in ready.iter().map(|ready| ready.token) {
                let count = match streams[at].read(&mut buffer) {
                    Ok(0) => return Err(frame::wrong("a connection ended")),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    result => result?,
                };
                let end = got[at] + count;
                if expected.is_empty() {
                    expected = compressed(&buffer[..count])?.repeat(options.messages.into());
                }
                if expected.get(got[at]..end) != Some(&buffer[..count]) {
                    return Err(frame::wrong("a message differs from what was sent"));
                }
                got[at] = end;
                missing -= usize::from(end == expected.len());
            }
        }
    }
    let wall = began.0.elapsed();
    let deliveries = (options.connections * usize::from(options.messages) * options.rounds) as f64;
    print!(
        "bench=fanout connections={} messages={} wall_ns={:.1}",
        options.connections,
        options.messages,
        wall.as_nanos() as f64 / deliveries
    );
    if options.server.is_some() {
        print!(
            " cpu_ns={:.1}",
            (cpu(options)? - began.1) as f64 / deliveries
        );
    }
    println!();
    Ok(())
}

/// The compressed frame at the start of what was read, which has to be short.
fn compressed(input: &[u8]) -> io::Result<&[u8]> {
    match input {
        [0xC2, length @ 0..=125, rest @ ..] if rest.len() >= usize::from(*length) => {
            Ok(&input[..2 + usize::from(*length)])
        }
        _ => Err(frame::wrong("no short compressed frame")),
    }
}

/// The server sleeps when all have got everything.
fn cpu(options: &Options) -> io::Result<u64> {
    std::thread::sleep(Duration::from_millis(20));
    options.server.map_or(Ok(0), Process::cpu_ns)
}
