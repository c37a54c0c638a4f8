//! A receiver that is short and strict: RFC 6455 read once more, for a stream that is there as a whole. It knows neither
//! extensions nor limits.

use crate::feeding::Event;
use evws_proto::Role;

const PROTOCOL: Event = Event::Failed(1002, "");
const ENCODING: Event = Event::Failed(1007, "");

/// The events of `wire`, without the texts of failures.
pub fn events(receiver: Role, wire: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut message = None;
    let mut rest = wire;
    while !rest.is_empty() {
        match next(receiver, &mut rest, &mut message) {
            Some(Step::Event(event)) => {
                let is_last = event.is_last();
                events.push(event);
                if is_last {
                    break;
                }
            }
            Some(Step::Fragment) => {}
            None => break,
        }
    }
    events
}

enum Step {
    Event(Event),
    Fragment,
}

type Message = Option<(bool, Vec<u8>)>;

/// One frame; `None` if it is not all there.
fn next(receiver: Role, rest: &mut &[u8], message: &mut Message) -> Option<Step> {
    let failed = Some(Step::Event(PROTOCOL));
    let (fin, rsv, opcode) = (rest[0] & 0x80 != 0, rest[0] & 0x70, rest[0] & 0x0F);
    let is_control = opcode >= 8;
    if rsv != 0 || matches!(opcode, 3..=7 | 11..) || (is_control && !fin) {
        return failed;
    }
    let second = *rest.get(1)?;
    let masked = second & 0x80 != 0;
    if masked != (receiver == Role::Server) || (is_control && second & 0x7F > 125) {
        return failed;
    }
    let size = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if size == 8 && rest.get(2)? & 0x80 != 0 {
        return failed;
    }
    let digits = rest.get(2..2 + size)?;
    let number = digits
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let length = match size {
        0 => u64::from(second & 0x7F),
        2 if number < 126 => return failed,
        8 if number < 65_536 => return failed,
        _ => number,
    };
    let start = 2 + size + if masked { 4 } else { 0 };
    let key = rest.get(2 + size..start)?;
    if !is_control && (opcode == 0) != message.is_some() {
        return failed;
    }
    let there = rest.len() - start;
    let is_whole = length <= there as u64;
    let payload = &rest[start..][..there.min(usize::try_from(length).unwrap_or(there))];
    *rest = &rest[start + payload.len()..];
    let unmask = |(at, byte): (usize, &u8)| byte ^ key.get(at % 4).unwrap_or(&0);
    let payload: Vec<u8> = payload.iter().enumerate().map(unmask).collect();
    if is_control {
        return is_whole.then(|| Step::Event(control(opcode, payload)));
    }
    let (binary, collected) = message.get_or_insert_with(|| (opcode == 2, Vec::new()));
    collected.extend(payload);
    let is_complete = is_whole && fin;
    if !*binary {
        match std::str::from_utf8(collected) {
            Err(error) if is_complete || error.error_len().is_some() => {
                return Some(Step::Event(ENCODING))
            }
            _ => {}
        }
    }
    match (is_whole, fin) {
        (false, _) => None,
        (true, false) => Some(Step::Fragment),
        (true, true) => {
            let (binary, payload) = message.take()?;
            Some(Step::Event(match binary {
                true => Event::Binary(payload),
                false => Event::Text(payload),
            }))
        }
    }
}

fn control(opcode: u8, payload: Vec<u8>) -> Event {
    match (opcode, &payload[..]) {
        (9, _) => Event::Ping(payload),
        (10, _) => Event::Pong(payload),
        (_, []) => Event::Close(None, payload),
        (_, [_]) => PROTOCOL,
        (_, [high, low, reason @ ..]) => {
            let code = u16::from(*high) << 8 | u16::from(*low);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                PROTOCOL
            } else if std::str::from_utf8(reason).is_err() {
                ENCODING
            } else {
                Event::Close(Some(code), reason.to_vec())
            }
        }
    }
}
