//! The memory of messages that come in pieces: enough, in few steps, and little that is not needed.

mod common;

use common::deflate::*;
use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::deflate::Codecs;
use evws_proto::frame::Opcode;
use evws_proto::{Connection, Role};

/// The capacity of the message that is being received.
fn capacity(client: &mut Connection) -> usize {
    client.payload_buffer().expect("it wants more").capacity()
}

#[test]
fn a_fragment_that_fills_the_memory_to_its_end_leaves_no_message_without_a_byte_more() {
    let mut client = Connection::new(&config(Role::Client));
    let first = frame_to(Role::Client, false, Opcode::Binary, &[1; 100]);
    let last = frame_to(Role::Client, true, Opcode::Continuation, &[2]);
    assert_eq!(feed(&mut client, &first), []);
    assert_eq!(feed(&mut client, &last).len(), 1);
    let message = client.take_message().unwrap();
    assert_eq!(message.len(), 101);
    assert!(message.capacity() > 101, "{}", message.capacity());
}

#[test]
fn the_last_step_of_a_frame_is_no_larger_than_what_is_left_of_it() {
    let wire = frame_to(Role::Client, true, Opcode::Binary, &vec![1; 1_000_000]);
    let mut client = Connection::new(&config(Role::Client));
    let (first, second) = wire.split_at(600_000);
    assert_eq!(feed(&mut client, first), []);
    assert_eq!(feed(&mut client, second).len(), 1);
    assert_eq!(client.take_message().unwrap().capacity(), 1_000_001);
}

#[test]
fn nothing_is_reserved_while_there_is_room_for_the_next_read() {
    let wire = frame_to(Role::Client, true, Opcode::Binary, &vec![1; 1_000_000]);
    let mut client = Connection::new(&config(Role::Client));
    let (first, second) = wire.split_at(16_384);
    assert_eq!(feed(&mut client, first), []);
    let before = capacity(&mut client);
    assert_eq!(feed(&mut client, &second[..16_384]), []);
    assert_eq!(capacity(&mut client), before);
}

/// Each step copies all that is there: as many steps as fragments would be the square of the message.
#[test]
fn many_small_fragments_take_few_steps() {
    let mut client = Connection::new(&config(Role::Client));
    let mut capacities = Vec::new();
    for index in 0..500 {
        let opcode = match index {
            0 => Opcode::Binary,
            _ => Opcode::Continuation,
        };
        let wire = frame_to(Role::Client, false, opcode, &[1; 1000]);
        assert_eq!(feed(&mut client, &wire[..900]), []);
        capacities.push(capacity(&mut client));
        assert_eq!(feed(&mut client, &wire[900..]), []);
    }
    capacities.dedup();
    assert!(capacities.len() < 50, "{capacities:?}");
}

/// More than a quarter beyond the message is given back; less is not worth to move it for.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn an_inflated_message_has_room_for_a_byte_and_for_no_more_than_a_quarter() {
    let (agreement, codecs) = (agreement(true, 15), Codecs::default());
    let mut server = deflating(&config(Role::Server), &agreement, &codecs);
    let mut client = deflating(&config(Role::Client), &agreement, &codecs);
    let (mut none_moved, mut exactly_a_quarter) = (0, 0);
    let bytes = noise(10_000);
    for length in (1..1200).chain([5000, 10_000]) {
        for payload in [bytes[..length].to_vec(), vec![b'a'; length]] {
            let mut wire = Vec::new();
            server
                .send(FrameKind::Binary, &payload, KEY, &mut wire)
                .unwrap();
            let (first, second) = wire.split_at(1);
            assert_eq!(feed(&mut client, first), []);
            assert_eq!(feed(&mut client, second).len(), 1);
            let message = client.take_message().unwrap();
            assert!(message == payload);
            let spare = message.capacity() - length;
            assert!(
                (1..=(length / 4).max(1)).contains(&spare),
                "{spare} for {length}"
            );
            none_moved += usize::from(spare > 3);
            exactly_a_quarter += usize::from(spare > 3 && spare == length / 4);
        }
    }
    // An empty one that is compressed all the same.
    assert_eq!(feed(&mut client, b"\xC2\x01\x00"), [binary(b"")]);
    assert!(client.take_message().unwrap().capacity() > 0);
    assert!(
        none_moved > 100 && exactly_a_quarter > 0,
        "{none_moved}, {exactly_a_quarter}"
    );
}
