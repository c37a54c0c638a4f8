//! Connections that live for one echo: connect, upgrade, echo, close, again.

use crate::frame::{self, Masks};
use crate::process::Process;
use crate::sys::{Epoll, Ready};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What to do; see the usage text.
pub struct Options {
    pub port: u16,
    pub count: u64,
    pub at_once: usize,
    pub size: usize,
    pub timeout: Duration,
    pub server: Option<Process>,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Upgrade,
    Echo,
    Close,
    End,
}

struct Visit {
    stream: TcpStream,
    step: Step,
    input: Vec<u8>,
}

/// Normal closure, 1000.
const CLOSE_PAYLOAD: [u8; 2] = [0x03, 0xE8];

impl Visit {
    fn begin(port: u16) -> io::Result<Self> {
        let mut stream = frame::open(port)?;
        stream.write_all(&frame::request(port))?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            step: Step::Upgrade,
            input: Vec::new(),
        })
    }

    fn send(&mut self, opcode: u8, payload: &[u8], masks: &mut Masks) -> io::Result<()> {
        let mut out = Vec::with_capacity(payload.len() + 14);
        frame::push_frame(&mut out, opcode, payload, masks.next());
        match self.stream.write(&out)? {
            n if n == out.len() => Ok(()),
            _ => Err(frame::wrong("no room for one frame in the send buffer")),
        }
    }

    /// Takes a frame that has to be exactly this one from the input, if enough of it is there.
    fn expect(&mut self, opcode: u8, payload: &[u8]) -> io::Result<bool> {
        let mut wanted = frame::server_header(opcode, payload.len());
        wanted.extend_from_slice(payload);
        if self.input.len() < wanted.len() {
            return Ok(false);
        }
        if self.input != wanted {
            return Err(frame::wrong(format!(
                "expected {wanted:02x?}, got {:02x?}",
                self.input
            )));
        }
        self.input.clear();
        Ok(true)
    }

    /// Reads once and goes as far as that allows; true when the server has ended the connection after its Close.
    fn advance(
        &mut self,
        buffer: &mut [u8],
        payload: &[u8],
        masks: &mut Masks,
    ) -> io::Result<bool> {
        match self.stream.read(buffer) {
            Ok(0) if self.step == Step::End => return Ok(true),
            Ok(0) => return Err(frame::wrong("the server ended the connection too early")),
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        match self.step {
            Step::Upgrade => {
                if let Some(length) = frame::response_length(&self.input)? {
                    self.input.drain(..length);
                    self.send(frame::BINARY, payload, masks)?;
                    self.step = Step::Echo;
                }
            }
            Step::Echo => {
                if self.expect(frame::BINARY, payload)? {
                    self.send(frame::CLOSE, &CLOSE_PAYLOAD, masks)?;
                    self.step = Step::Close;
                }
            }
            Step::Close => {
                if self.expect(frame::CLOSE, &CLOSE_PAYLOAD)? {
                    self.step = Step::End;
                }
            }
            Step::End => return Err(frame::wrong("octets after the Close frame")),
        }
        Ok(false)
    }
}

fn visits(options: &Options, count: u64) -> io::Result<()> {
    let mut epoll = Epoll::new()?;
    let mut masks = Masks::new(1);
    let payload: Vec<u8> = (0..options.size).map(|_| masks.next() as u8).collect();
    let deadline = Instant::now() + options.timeout;
    let mut slots = Vec::new();
    let (mut begun, mut ended) = (0, 0);
    let begin = |epoll: &Epoll, token| -> io::Result<Visit> {
        let visit = Visit::begin(options.port)?;
        epoll.add(visit.stream.as_raw_fd(), token)?;
        Ok(visit)
    };
    while begun < count && slots.len() < options.at_once {
        slots.push(begin(&epoll, slots.len())?);
        begun += 1;
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut ready: Vec<Ready> = Vec::new();
    while ended < count {
        epoll.wait(1000, &mut ready)?;
        if Instant::now() >= deadline {
            return Err(frame::wrong(format!(
                "timeout with {} of {count} connections not ended",
                count - ended
            )));
        }
        for event in &ready {
            if !slots[event.token].advance(&mut buffer, &payload, &mut masks)? {
                continue;
            }
            ended += 1;
            if begun < count {
                slots[event.token] = begin(&epoll, event.token)?;
                begun += 1;
            } else {
                // The last ones stay in their slots; what has ended must not be reported as ready for ever.
                epoll.remove(slots[event.token].stream.as_raw_fd())?;
            }
        }
    }
    Ok(())
}

/// A tenth of the connections first, unmeasured, then all; prints one line.
pub fn run(options: &Options) -> io::Result<()> {
    visits(options, (options.count / 10).max(1))?;
    let cpu = options.server.map(Process::cpu_ns).transpose()?;
    let start = Instant::now();
    visits(options, options.count)?;
    let wall = start.elapsed().as_secs_f64();
    let per = options.count as f64;
    print!(
        "bench=churn connections={} at_once={} wall_ns={:.0}",
        options.count,
        options.at_once,
        wall / per * 1e9
    );
    if let (Some(server), Some(before)) = (options.server, cpu) {
        print!(
            " cpu_ns={:.0} rss_kib={}",
            (server.cpu_ns()? - before) as f64 / per,
            server.resident()? / 1024
        );
    }
    println!();
    Ok(())
}
