//! What is kept of a listener's client beside its socket: its place among those that there may be at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use evws_proto::forwarded::Peer;

/// How many clients a listener may have at once, established or under way, and how many there are.
#[derive(Debug, Default)]
pub struct Admission {
    /// In all; 0: no limit.
    max: usize,
    /// Of one block of addresses; 0: no limit.
    max_of_block: usize,
    guests: RefCell<Guests>,
}

#[derive(Debug, Default)]
struct Guests {
    count: usize,
    of_block: HashMap<Block, usize>,
}

/// Addresses that somebody is taken to have as a whole: one of IPv4, a /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Block {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Block {
    fn of(address: IpAddr) -> Block {
        match address.to_canonical() {
            IpAddr::V4(address) => Block::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Block::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// There are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// In all.
    Whole,
    /// From this client's addresses.
    Block,
}

impl Admission {
    /// Limits, 0 being none; `None`: there is nothing to count.
    pub fn new(max: usize, max_of_block: usize) -> Option<Rc<Self>> {
        let admission = Admission {
            max,
            max_of_block,
            ..Admission::default()
        };
        (max > 0 || max_of_block > 0).then(|| Rc::new(admission))
    }

    /// Lets a client in, whose address is not known yet.
    ///
    /// # Errors
    /// There is no place.
    pub fn enter(self: &Rc<Self>) -> Result<Seat, Full> {
        let mut guests = self.guests.borrow_mut();
        if self.max > 0 && guests.count >= self.max {
            return Err(Full::Whole);
        }
        guests.count += 1;
        Ok(Seat {
            admission: Rc::clone(self),
            block: None,
        })
    }
}

/// A client that was let in. It has left when this is dropped.
#[derive(Debug)]
pub struct Seat {
    admission: Rc<Admission>,
    block: Option<Block>,
}

impl Seat {
    /// The client's address is known, or is another one than it was.
    ///
    /// # Errors
    /// There is no place for this address. The client is then counted for none.
    pub fn settle(&mut self, address: Option<IpAddr>) -> Result<(), Full> {
        let limit = self.admission.max_of_block;
        let block = address.filter(|_| limit > 0).map(Block::of);
        if block == self.block {
            return Ok(());
        }
        self.leave_block();
        if let Some(block) = block {
            let mut guests = self.admission.guests.borrow_mut();
            let count = guests.of_block.entry(block).or_default();
            // An entry that is there has at least one client.
            if *count >= limit {
                return Err(Full::Block);
            }
            *count += 1;
        }
        self.block = block;
        Ok(())
    }

    fn leave_block(&mut self) {
        let Some(block) = self.block.take() else {
            return;
        };
        let mut guests = self.admission.guests.borrow_mut();
        if let Some(count) = guests.of_block.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                guests.of_block.remove(&block);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave_block();
        self.admission.guests.borrow_mut().count -= 1;
    }
}

/// What a listener knows of one client, if there is anything.
#[derive(Debug, Default)]
pub struct Guest {
    /// Its place; `None`: places are not counted, or there was none for it.
    pub seat: Option<Seat>,
    /// Who it is, if a proxy has said that; otherwise it is who the socket says.
    pub claimed: Option<Peer>,
}

impl Guest {
    /// As an established connection keeps it: nothing takes no memory.
    pub fn boxed(self) -> Option<Box<Guest>> {
        (self.seat.is_some() || self.claimed.is_some()).then(|| Box::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(admission: &Rc<Admission>, address: Option<IpAddr>) -> Result<Seat, Full> {
        let mut seat = admission.enter()?;
        seat.settle(address)?;
        Ok(seat)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn places_are_free_again_when_clients_leave() {
        assert!(Admission::new(0, 0).is_none());
        let admission = Admission::new(2, 0).unwrap();
        let first = enter(&admission, None).unwrap();
        let second = enter(&admission, address("10.0.0.1")).unwrap();
        assert_eq!(enter(&admission, None).unwrap_err(), Full::Whole);
        drop(first);
        let third = enter(&admission, None).unwrap();
        assert_eq!(enter(&admission, None).unwrap_err(), Full::Whole);
        drop((second, third));
        assert_eq!(admission.guests.borrow().count, 0);
    }

    #[test]
    fn a_block_is_an_address_of_ipv4_and_a_network_of_ipv6() {
        let admission = Admission::new(0, 1).unwrap();
        let mut seats = Vec::new();
        for (text, fits) in [
            ("10.0.0.1", true),
            ("10.0.0.2", true),
            ("::ffff:10.0.0.1", false),
            ("2001:db8:0:1::1", true),
            ("2001:db8:0:1:ffff::2", false),
            ("2001:db8:0:2::1", true),
        ] {
            let seat = enter(&admission, address(text));
            assert_eq!(seat.is_ok(), fits, "{text}");
            seats.extend(seat);
        }
        // Without an address nobody is counted.
        seats.push(enter(&admission, None).unwrap());
        seats.push(enter(&admission, None).unwrap());
        drop(seats);
        assert!(admission.guests.borrow().of_block.is_empty());
        assert_eq!(admission.guests.borrow().count, 0);
    }

    #[test]
    fn a_client_may_turn_out_to_be_another() {
        let admission = Admission::new(0, 1).unwrap();
        let _other = enter(&admission, address("10.0.0.2")).unwrap();
        let mut seat = enter(&admission, address("10.0.0.1")).unwrap();
        assert_eq!(seat.settle(address("10.0.0.1")), Ok(()));
        assert_eq!(seat.settle(address("10.0.0.2")), Err(Full::Block));
        let again = enter(&admission, address("10.0.0.1")).unwrap();
        assert_eq!(seat.settle(address("10.0.0.3")), Ok(()));
        drop((seat, again));
        assert_eq!(admission.guests.borrow().of_block.len(), 1);
    }

    /// Each connection of a listener without limits would take memory for what is not known of it.
    #[test]
    fn what_is_not_known_of_a_client_takes_no_memory() {
        assert!(Guest::default().boxed().is_none());
        let claimed = Some(Peer::default());
        let named = Guest {
            claimed,
            ..Guest::default()
        };
        assert!(named.boxed().is_some_and(|kept| kept.claimed == claimed));
        let admission = Admission::new(1, 0).unwrap();
        let seat = Some(admission.enter().unwrap());
        let seated = Guest {
            seat,
            ..Guest::default()
        };
        assert!(seated.boxed().is_some_and(|kept| kept.seat.is_some()));
        assert_eq!(admission.guests.borrow().count, 0);
    }
}
