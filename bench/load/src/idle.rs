//! Connections that do nothing, and the memory they take in the server.

use crate::frame::{self, Masks};
use crate::process::Process;
use crate::sys;
use std::io;
use std::time::Duration;

/// What to do; see the usage text.
pub struct Options {
    pub port: u16,
    pub connections: usize,
    pub size: usize,
    pub hold: Duration,
    pub server: Option<Process>,
}

/// Long enough for the server to finish what it does after its last octet to us.
const SETTLE: Duration = Duration::from_millis(300);

fn resident(options: &Options) -> io::Result<u64> {
    std::thread::sleep(SETTLE);
    options.server.map_or(Ok(0), Process::resident)
}

/// Opens the connections, then sends a message on each, and prints what one took before and after, in bytes.
pub fn run(options: &Options) -> io::Result<()> {
    let limit = sys::raise_descriptor_limit()?;
    if limit < options.connections as u64 + 32 {
        return Err(frame::wrong(format!(
            "{} connections need more than {limit} descriptors",
            options.connections
        )));
    }
    let mut masks = Masks::new(1);
    let payload: Vec<u8> = (0..options.size).map(|_| masks.next() as u8).collect();
    // What a server sets up once, for its first connection and message, is not the price of a connection. This one
    // stays open, so that its memory is not there to be used again.
    let mut first = frame::open_upgraded(options.port)?;
    frame::echo_once(&mut first, &payload, masks.next())?;
    let none = resident(options)?;
    let mut streams = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        streams.push(frame::open_upgraded(options.port)?);
    }
    let before = resident(options)?;
    for stream in &mut streams {
        frame::echo_once(stream, &payload, masks.next())?;
    }
    let after = resident(options)?;
    let per = |rss: u64| rss.saturating_sub(none) as f64 / options.connections as f64;
    print!("bench=idle connections={}", options.connections);
    if options.server.is_some() {
        print!(
            " rss_kib={} bytes={:.0} bytes_after_message={:.0}",
            none / 1024,
            per(before),
            per(after)
        );
    }
    println!();
    std::thread::sleep(options.hold);
    Ok(())
}
