//! Two ends, and a wire between them that is cut or changed.

use crate::compressed::agreement;
use crate::ends::one_sequence;
use crate::feeding::{feed, Event};
use crate::frames::role;
use crate::plan::Plan;
use evws_proto::connection::FrameKind;
use evws_proto::deflate::Codecs;
use evws_proto::{close, Config, Connection, Role};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// What one end says arrives at the other. Whatever befalls the wire, what was said before that arrives, and how it
/// ends does not depend on the portions; then the other end says farewell.
pub fn faults(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed, bits) = (plan.byte(), plan.byte(), plan.byte());
    let sender = role(flags);
    let receiver = match sender {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let make = |role| {
        let mut connection = Connection::new(&Config {
            role,
            max_message_size: 1 << 18,
            max_fragments: 0,
            validate_utf8: flags & 2 != 0,
        });
        if flags & 4 != 0 {
            connection.use_deflate(&agreement(flags & 8 != 0, bits), Codecs::default());
        }
        connection
    };
    let fault = (flags & 16 != 0).then(|| [plan.byte(), plan.byte(), plan.byte()]);
    let mut from = make(sender);
    let (mut wire, said) = say(&mut from, &mut plan);
    let Some([place, kind, value]) = fault else {
        let events = one_sequence(seed, &wire, || make(receiver));
        assert_eq!(events, said, "what was said");
        return farewell(make(receiver), &wire, from);
    };
    let place = wire.len() * usize::from(place) / 256;
    let heard = feed(&mut make(receiver), &wire[..place]);
    assert!(said.starts_with(&heard), "before the fault");
    match kind % 5 {
        0 => wire.truncate(place),
        1 if place < wire.len() => wire[place] ^= value | 1,
        2 if place < wire.len() => drop(wire.remove(place)),
        3 => wire.insert(place, value),
        _ => {
            let again = wire[place..wire.len().min(place + usize::from(value))].to_vec();
            wire.splice(place..place, again);
        }
    }
    let events = one_sequence(seed, &wire, || make(receiver));
    assert!(events.starts_with(&heard), "behind the fault");
    farewell(make(receiver), &wire, from);
}

/// What `from` sends as `plan` says, and what a peer is to hear.
fn say(from: &mut Connection, plan: &mut Plan<'_>) -> (Vec<u8>, Vec<Event>) {
    let mut wire = Vec::new();
    let mut said = Vec::new();
    // A message in parts, and whether it is binary.
    let mut begun: Option<(bool, Vec<u8>)> = None;
    let message = |binary, payload| match binary {
        true => Event::Binary(payload),
        false => Event::Text(payload),
    };
    while !plan.is_empty() {
        let what = plan.byte();
        let length = usize::from(plan.byte());
        let text = String::from_utf8_lossy(plan.take(length)).into_owned();
        // Now and then what is long enough for a larger header, and compresses.
        let text = if what & 0x80 != 0 {
            text.repeat(40)
        } else {
            text
        };
        let binary = what & 0x40 != 0;
        let bytes = text.as_bytes();
        let last = what & 0x20 != 0;
        let kind = match what % 6 {
            0 => FrameKind::message(binary),
            1 => FrameKind::Ping,
            2 => FrameKind::Pong,
            5 if last => {
                from.close(Some(3000), bytes, || KEY, &mut wire).unwrap();
                if let Some((binary, payload)) = begun.take() {
                    said.push(message(binary, payload));
                }
                let reason = close::cut_reason(bytes).to_vec();
                said.push(Event::Close(Some(3000), reason));
                return (wire, said);
            }
            _ => FrameKind::Fragment { binary, last },
        };
        let sent = from.send(kind, bytes, KEY, &mut wire);
        let control = bytes[..bytes.len().min(125)].to_vec();
        match kind {
            FrameKind::Ping => said.push(Event::Ping(control)),
            FrameKind::Pong => said.push(Event::Pong(control)),
            FrameKind::Fragment { .. } => {
                let (_, payload) = begun.get_or_insert_with(|| (binary, Vec::new()));
                payload.extend_from_slice(bytes);
                if let Some((binary, payload)) = begun.take_if(|_| last) {
                    said.push(message(binary, payload));
                }
            }
            _ if begun.is_some() => {
                assert!(sent.is_err(), "a message inside of another");
                continue;
            }
            _ => said.push(message(binary, bytes.to_vec())),
        }
        sent.expect("it is open");
    }
    (wire, said)
}

/// The receiver closes, and the one that sent, if it goes on, hears why.
fn farewell(mut receiver: Connection, wire: &[u8], mut sender: Connection) {
    let events = feed(&mut receiver, wire);
    let code = match events.last() {
        Some(Event::Failed(code, _)) => *code,
        _ => 1000,
    };
    let mut answer = Vec::new();
    receiver
        .close(Some(code), b"farewell", || KEY, &mut answer)
        .unwrap();
    let heard = feed(&mut sender, &answer);
    assert_eq!(heard, [Event::Close(Some(code), b"farewell".to_vec())]);
    assert!(sender
        .send(FrameKind::Text, b"x", KEY, &mut answer)
        .is_err());
}
