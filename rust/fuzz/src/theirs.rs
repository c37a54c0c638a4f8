//! tungstenite as a second opinion.

use crate::ends::Event;
use evws_proto::Role;
use std::io::{self, Read, Write};
use tungstenite::protocol::{CloseFrame, Role as TheirRole, WebSocket};
use tungstenite::{Error, Message};

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

/// All they find in `wire`, in our words. Their errors have no close code: it is 0 here.
pub fn events(receiver: Role, wire: &[u8]) -> Vec<Event> {
    let role = match receiver {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    };
    let mut socket = WebSocket::from_raw_socket(Stream(wire), role, None);
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(Message::Text(payload)) => Event::Text(payload.as_bytes().to_vec()),
            Ok(Message::Binary(payload)) => Event::Binary(payload.to_vec()),
            Ok(Message::Ping(payload)) => Event::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Event::Pong(payload.to_vec()),
            Ok(Message::Close(None)) => Event::Close(None, Vec::new()),
            // So they tell a code that no Close may carry.
            Ok(Message::Close(Some(frame))) if frame.reason == "Protocol violation" => {
                Event::Failed(0, "")
            }
            Ok(Message::Close(Some(CloseFrame { code, reason }))) => {
                Event::Close(Some(code.into()), reason.as_bytes().to_vec())
            }
            Ok(Message::Frame(_)) => unreachable!("they join frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return events,
            Err(_) => Event::Failed(0, ""),
        });
        if events.last().is_some_and(Event::is_last) {
            return events;
        }
    }
}
