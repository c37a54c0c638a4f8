//! A stream of frames as it reaches either end.

use crate::compressed::agreement;
use crate::ends::one_sequence;
use crate::feeding::Event;
use crate::plan::Plan;
use crate::{model, theirs};
use evws_proto::deflate::Codecs;
use evws_proto::frame::{encode_with, Opcode};
use evws_proto::{Config, Connection, Role};

pub fn role(flags: u8) -> Role {
    match flags & 1 {
        0 => Role::Server,
        _ => Role::Client,
    }
}

/// Whatever bytes come, with and without deflate and limits: the events do not depend on how they come.
pub fn cuts(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed, bits) = (plan.byte(), plan.byte(), plan.byte());
    let config = Config {
        role: role(flags),
        // A bomb in each of many ways would take all the time.
        max_message_size: if flags & 2 != 0 {
            1 << 18
        } else {
            u64::from(seed) * 4 + 1
        },
        max_fragments: if flags & 4 != 0 { 0 } else { 3 },
        validate_utf8: flags & 8 == 0,
    };
    one_sequence(seed, plan.0, || {
        let mut connection = Connection::new(&config);
        if flags & 16 != 0 {
            connection.use_deflate(&agreement(flags & 32 != 0, bits), Codecs::default());
        }
        connection
    });
}

/// A strict model finds the same events in any bytes, and tungstenite in whole frames.
pub fn judged(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed) = (plan.byte(), plan.byte());
    let receiver = role(flags);
    let is_raw = flags & 2 != 0;
    let wire = match is_raw {
        true => plan.0.to_vec(),
        false => whole_frames(receiver, &mut plan),
    };
    let config = Config {
        role: receiver,
        max_message_size: 0,
        max_fragments: 0,
        validate_utf8: true,
    };
    let ours = one_sequence(seed, &wire, || Connection::new(&config));
    // The text of a failure is ours alone.
    let without_text = |event| match event {
        Event::Failed(code, _) => Event::Failed(code, ""),
        other => other,
    };
    let ours: Vec<Event> = ours.into_iter().map(without_text).collect();
    assert_eq!(ours, model::events(receiver, &wire), "the model");
    if !is_raw {
        let without_code = |event| match event {
            Event::Failed(..) => Event::Failed(0, ""),
            other => other,
        };
        let ours: Vec<Event> = ours.into_iter().map(without_code).collect();
        assert_eq!(ours, theirs::events(receiver, &wire), "tungstenite");
    }
}

/// Frames with whatever first byte, but with lengths and masks that are right.
fn whole_frames(receiver: Role, plan: &mut Plan<'_>) -> Vec<u8> {
    const USUAL: [u8; 10] = [0x80, 0x00, 0x81, 0x01, 0x82, 0x02, 0x89, 0x8A, 0x88, 0x80];
    let mut wire = Vec::new();
    while !plan.is_empty() {
        let first = match plan.byte() {
            255 => plan.byte(),
            choice => USUAL[usize::from(choice) % USUAL.len()],
        };
        let payload = match plan.byte() {
            // One is enough to look at, and takes as long as many small ones.
            255 if wire.len() < 1000 => vec![plan.byte(); 65_536],
            254.. => vec![plan.byte(); 126],
            length => plan.take(usize::from(length)).to_vec(),
        };
        let start = wire.len();
        let key = (receiver == Role::Server).then(|| [plan.byte(); 4]);
        encode_with(true, 0, Opcode::Text, &payload, key, &mut wire);
        wire[start] = first;
    }
    wire
}
