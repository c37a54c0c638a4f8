//! What tungstenite makes of a connection's bytes.

use super::feeding::Event;
use std::io::{self, Read, Write};
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message};

/// All that is to be read, in our words, up to where the stream would block. Their errors have no close code: it is 0
/// here.
pub fn read_all<S: Read + Write>(socket: &mut WebSocket<S>) -> Vec<Event> {
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
