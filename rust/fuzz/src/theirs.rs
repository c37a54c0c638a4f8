//! tungstenite as a second opinion.

use crate::feeding::Event;
use crate::their_events::read_all;
use evws_proto::Role;
use std::io::{self, Read, Write};
use tungstenite::protocol::{Role as TheirRole, WebSocket};

/// A stream in memory: what was put in can be read, what is written is nobody's.
struct Stream<'a>(&'a [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All they find in `wire`.
pub fn events(receiver: Role, wire: &[u8]) -> Vec<Event> {
    let role = match receiver {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    };
    read_all(&mut WebSocket::from_raw_socket(Stream(wire), role, None))
}
