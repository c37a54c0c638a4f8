//! What was published to a topic, for subscribers that come back: where the topic stands, and its latest messages.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::connection::Prepared;

use crate::reactor::Time;

/// Where a topic stands, or a subscriber in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which count it is: a random number, never 0, made when the topic was configured.
    pub epoch: u64,
    /// The number of the newest message in that count, from 1 on; 0 before the first one.
    pub offset: u64,
}

impl Position {
    /// A position as a program has it from a peer: the epoch in 16 hexadecimal digits, the offset in decimal ones. Of
    /// anything else one that no topic has been at.
    pub fn parse(epoch: &[u8], offset: &[u8]) -> Position {
        let number = |text: &[u8], radix| {
            let is_digit = |&octet: &u8| octet.is_ascii_digit() || octet.is_ascii_lowercase();
            let text = std::str::from_utf8(text).ok()?;
            let number = u64::from_str_radix(text, radix).ok()?;
            text.as_bytes().iter().all(is_digit).then_some(number)
        };
        match (number(epoch, 16), number(offset, 10)) {
            (Some(at), Some(offset)) if epoch.len() == 16 => Position { epoch: at, offset },
            _ => Position {
                epoch: 0,
                offset: 0,
            },
        }
    }
}

/// A message that is kept.
pub struct Kept {
    /// What was published.
    pub message: Rc<Prepared>,
    at: Time,
}

/// What is known of the messages of a topic.
pub struct Record {
    position: Position,
    /// The latest messages, the newest one last.
    kept: VecDeque<Kept>,
    /// How many are kept.
    limit: usize,
    /// How long; `None`: any time.
    max_age: Option<Duration>,
}

impl Record {
    /// A count that begins now.
    pub fn new(epoch: u64) -> Record {
        Record {
            position: Position { epoch, offset: 0 },
            kept: VecDeque::new(),
            limit: 0,
            max_age: None,
        }
    }

    /// Keeps at most so many from now on, and none longer than `max_age`.
    pub fn configure(&mut self, limit: usize, max_age: Option<Duration>) {
        self.limit = limit;
        self.max_age = max_age;
        let surplus = self.kept.len().saturating_sub(limit);
        self.kept.drain(..surplus);
        self.kept.shrink_to_fit();
    }

    /// Where the topic stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// A message is published.
    pub fn add(&mut self, message: Rc<Prepared>, at: Time) {
        self.position.offset += 1;
        if self.limit == 0 {
            return;
        }
        if self.kept.len() == self.limit {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { message, at });
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, now: Time) {
        let Some(max_age) = self.max_age else {
            return;
        };
        let is_old = |kept: &Kept| now.since(kept.at) >= max_age;
        while self.kept.front().is_some_and(is_old) {
            self.kept.pop_front();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// When there will be something to forget.
    pub fn expires_at(&self) -> Option<Time> {
        self.kept.front()?.at.checked_add(self.max_age?)
    }

    /// What was published after `since`, if all of it is there.
    pub fn after(&self, since: Position) -> Option<impl Iterator<Item = &Kept>> {
        let Position { epoch, offset } = self.position;
        let missed = offset.checked_sub(since.offset)?;
        let missed = usize::try_from(missed).ok()?;
        if since.epoch != epoch || missed > self.kept.len() {
            return None;
        }
        Some(self.kept.range(self.kept.len() - missed..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(limit: usize, published: u64) -> Record {
        let mut record = Record::new(7);
        record.configure(limit, Some(Duration::from_secs(10)));
        for number in 1..=published {
            let message = Prepared::new(true, false, &number.to_be_bytes()).unwrap();
            let at = Time::BEGINNING.checked_add(Duration::from_secs(number));
            record.add(Rc::new(message), at.unwrap());
        }
        record
    }

    fn after(record: &Record, epoch: u64, offset: u64) -> Option<Vec<u64>> {
        let number = |kept: &Kept| u64::from_be_bytes(kept.message.payload().try_into().unwrap());
        let kept = record.after(Position { epoch, offset })?;
        Some(kept.map(number).collect())
    }

    #[test]
    fn what_was_missed_is_there_whole_or_not_at_all() {
        let record = record(3, 5);
        assert_eq!(record.position().offset, 5);
        assert_eq!(after(&record, 7, 5), Some(vec![]));
        assert_eq!(after(&record, 7, 4), Some(vec![5]));
        assert_eq!(after(&record, 7, 2), Some(vec![3, 4, 5]));
        assert_eq!(after(&record, 7, 1), None, "the second is gone");
        assert_eq!(after(&record, 7, 6), None, "it was never published");
        assert_eq!(after(&record, 8, 5), None, "another count");
        assert_eq!(after(&record, 7, u64::MAX), None);
    }

    #[test]
    fn a_topic_that_keeps_nothing_knows_whether_something_was_missed() {
        let record = record(0, 2);
        assert_eq!(after(&record, 7, 2), Some(vec![]));
        assert_eq!(after(&record, 7, 1), None);
    }

    #[test]
    fn what_is_old_goes() {
        let mut record = record(9, 5);
        let at = |seconds| {
            Time::BEGINNING
                .checked_add(Duration::from_secs(seconds))
                .unwrap()
        };
        assert_eq!(record.expires_at(), Some(at(11)));
        record.expire(at(12));
        assert_eq!(after(&record, 7, 2), Some(vec![3, 4, 5]));
        assert_eq!(after(&record, 7, 1), None);
        assert_eq!(record.expires_at(), Some(at(13)));
        record.expire(at(99));
        assert_eq!((record.expires_at(), record.kept.capacity()), (None, 0));
        assert_eq!(after(&record, 7, 5), Some(vec![]));
    }

    #[test]
    fn what_is_too_much_by_a_new_limit_goes() {
        let mut record = record(5, 5);
        record.configure(2, None);
        assert_eq!(after(&record, 7, 3), Some(vec![4, 5]));
        assert_eq!(after(&record, 7, 2), None);
        assert_eq!(record.expires_at(), None);
    }

    /// What a peer says is only believed in the form in which a program has told it.
    #[test]
    fn a_position_is_read_as_it_is_written() {
        let read = |epoch: &[u8], offset: &[u8]| {
            let Position { epoch, offset } = Position::parse(epoch, offset);
            (epoch, offset)
        };
        let epoch = b"00f0123456789abc";
        assert_eq!(read(epoch, b"120"), (0x00f0_1234_5678_9abc, 120));
        for (epoch, offset) in [
            (&b"00F0123456789abc"[..], &b"1"[..]),
            (b"0f0123456789abc", b"1"),
            (b"000f0123456789abc", b"1"),
            (b"+0f0123456789abc", b"1"),
            (epoch, b"+1"),
            (epoch, b"-1"),
            (epoch, b""),
            (epoch, b"a"),
            (epoch, b"99999999999999999999"),
        ] {
            assert_eq!(read(epoch, offset), (0, 0), "{epoch:?} {offset:?}");
        }
    }
}
