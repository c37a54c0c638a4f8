//! Connections that keep a number of messages in flight, and check every echo octet for octet.

use crate::frame::{self, Masks};
use crate::process::Process;
use crate::sys::{Epoll, Ready};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const READ: usize = 256 * 1024;

/// What to do; see the usage text.
pub struct Options {
    pub port: u16,
    pub connections: usize,
    pub in_flight: usize,
    pub size: usize,
    pub count: Option<u64>,
    pub seconds: f64,
    pub timeout: Duration,
    pub server: Option<Process>,
}

/// When to send no more. What is in flight then is still waited for.
struct Budget {
    left: u64,
    until: Option<Instant>,
}

impl Budget {
    fn take(&mut self) -> bool {
        self.left = if self.left > 0 {
            self.left - 1
        } else {
            return false;
        };
        true
    }

    fn check_clock(&mut self) {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.left = 0;
        }
    }
}

struct Connection {
    stream: TcpStream,
    token: usize,
    out: Vec<u8>,
    written: usize,
    waits_for_room: bool,
    rest: Vec<u8>,
    payload: Vec<u8>,
    sent: u64,
    received: u64,
    masks: Masks,
}

impl Connection {
    fn new(token: usize, options: &Options) -> io::Result<Self> {
        let stream = frame::open_upgraded(options.port)?;
        stream.set_nonblocking(true)?;
        let mut noise = Masks::new(token as u64 + 1000);
        let payload = (0..options.size).map(|_| noise.next() as u8).collect();
        let masks = Masks::new(token as u64 + 1);
        let (out, rest) = (Vec::new(), Vec::new());
        let (written, waits_for_room, sent, received) = (0, false, 0, 0);
        Ok(Self {
            stream,
            token,
            out,
            written,
            waits_for_room,
            rest,
            payload,
            sent,
            received,
            masks,
        })
    }

    /// Message `number`: its number, as far as there is room, then octets of this connection's own.
    fn stamp(&mut self, number: u64) {
        let n = self.payload.len().min(8);
        self.payload[..n].copy_from_slice(&number.to_le_bytes()[..n]);
    }

    fn queue_message(&mut self) {
        self.stamp(self.sent);
        self.sent += 1;
        let mask = self.masks.next();
        frame::push_frame(&mut self.out, frame::BINARY, &self.payload, mask);
    }

    /// Checks every whole echo in `input`; returns how many there were and what they took.
    fn check(&mut self, input: &[u8], header: &[u8]) -> io::Result<(u64, usize)> {
        let length = header.len() + self.payload.len();
        let mut echoes = 0;
        for echo in input.chunks_exact(length) {
            self.stamp(self.received);
            if echo[..header.len()] != *header || echo[header.len()..] != self.payload[..] {
                let start = &echo[..echo.len().min(16)];
                return Err(frame::wrong(format!(
                    "echo {} differs; it begins with {start:02x?}",
                    self.received
                )));
            }
            self.received += 1;
            echoes += 1;
        }
        if self.received > self.sent {
            return Err(frame::wrong("more echoes than messages"));
        }
        Ok((echoes, echoes as usize * length))
    }

    /// Reads once and checks what came; returns the number of echoes.
    fn read(&mut self, buffer: &mut [u8], header: &[u8]) -> io::Result<u64> {
        let before = self.rest.len();
        let n = match self.stream.read(&mut buffer[before..]) {
            Ok(0) => return Err(frame::wrong("the server ended the connection")),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        buffer[..before].copy_from_slice(&self.rest);
        let input = &buffer[..before + n];
        let (echoes, used) = self.check(input, header)?;
        self.rest.clear();
        self.rest.extend_from_slice(&input[used..]);
        Ok(echoes)
    }

    fn write(&mut self, epoll: &Epoll) -> io::Result<()> {
        if self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let waits = self.written < self.out.len();
        if !waits {
            self.out.clear();
            self.written = 0;
        }
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            epoll.change(self.stream.as_raw_fd(), self.token, waits)?;
        }
        Ok(())
    }
}

struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    header: Vec<u8>,
    deadline: Instant,
}

impl Load {
    fn open(options: &Options) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mut connections = Vec::with_capacity(options.connections);
        for token in 0..options.connections {
            let connection = Connection::new(token, options)?;
            epoll.add(connection.stream.as_raw_fd(), token)?;
            connections.push(connection);
        }
        let header = frame::server_header(frame::BINARY, options.size);
        let buffer = vec![0; READ + header.len() + options.size];
        Ok(Self {
            epoll,
            connections,
            buffer,
            header,
            deadline: Instant::now() + options.timeout,
        })
    }

    /// Sends until `budget` is spent, and waits for every echo; returns their number.
    fn run(&mut self, in_flight: usize, budget: &mut Budget) -> io::Result<u64> {
        let (mut sent, mut echoed) = (0, 0);
        for connection in &mut self.connections {
            for _ in 0..in_flight {
                if budget.take() {
                    connection.queue_message();
                    sent += 1;
                }
            }
            connection.write(&self.epoll)?;
        }
        let mut ready: Vec<Ready> = Vec::new();
        while echoed < sent {
            self.epoll.wait(1000, &mut ready)?;
            budget.check_clock();
            if Instant::now() >= self.deadline {
                return Err(frame::wrong(format!(
                    "timeout with {} of {sent} echoes missing",
                    sent - echoed
                )));
            }
            for event in &ready {
                let connection = &mut self.connections[event.token];
                let echoes = connection.read(&mut self.buffer, &self.header)?;
                echoed += echoes;
                for _ in 0..echoes {
                    if budget.take() {
                        connection.queue_message();
                        sent += 1;
                    }
                }
                if event.writable || !connection.waits_for_room {
                    connection.write(&self.epoll)?;
                }
            }
        }
        Ok(echoed)
    }
}

/// A tenth of the work first, unmeasured, then the work; prints one line.
pub fn run(options: &Options) -> io::Result<()> {
    let mut load = Load::open(options)?;
    let budget = |part: f64| match options.count {
        Some(count) => Budget {
            left: ((count as f64 * part) as u64).max(1),
            until: None,
        },
        None => {
            let until = Instant::now() + Duration::from_secs_f64(options.seconds * part);
            Budget {
                left: u64::MAX,
                until: Some(until),
            }
        }
    };
    load.run(options.in_flight, &mut budget(0.1))?;
    let cpu = options.server.map(Process::cpu_ns).transpose()?;
    let start = Instant::now();
    let echoes = load.run(options.in_flight, &mut budget(1.0))?;
    let wall = start.elapsed().as_secs_f64();
    let megabytes = (echoes * options.size as u64) as f64 / 1e6;
    print!(
        "bench=echo connections={} in_flight={} size={} echoes={echoes} wall_s={wall:.3} echoes_s={:.0} wall_mb_s={:.1}",
        options.connections,
        options.in_flight,
        options.size,
        echoes as f64 / wall,
        megabytes / wall,
    );
    if let (Some(server), Some(before)) = (options.server, cpu) {
        let spent = (server.cpu_ns()? - before) as f64;
        print!(
            " cpu_ns={:.1} cpu_mb_s={:.1}",
            spent / echoes as f64,
            megabytes / (spent / 1e9)
        );
        print!(" rss_kib={}", server.resident()? / 1024);
    }
    println!();
    Ok(())
}
