//! What happens inside, line by line, for whoever looks for a mistake. Off as a rule, and then every
//! line costs one comparison: its text is not made.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::rc::Rc;

use crate::event::Id;

/// Lines that are kept while nobody takes them; the oldest go first.
const KEPT: usize = 4096;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub topic: Topic,
    /// The connection, or another source; 0: the context.
    pub id: Id,
    /// What happened.
    pub text: String,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A change of state.
    State,
    /// A timer was started, moved or stopped, or has run out.
    Timer,
    /// The header of a frame, received or sent.
    Frame,
    /// A step of a handshake.
    Handshake,
    /// An error, with its text.
    Error,
    /// A descriptor, and what it is watched for.
    Descriptor,
}

/// The log of a context, shared by its parts.
#[derive(Clone, Debug, Default)]
pub struct Log(Rc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    is_on: Cell<bool>,
    lines: RefCell<VecDeque<Line>>,
}

impl Log {
    /// Turns it on or off.
    pub fn set(&self, is_on: bool) {
        self.0.is_on.set(is_on);
        if !is_on {
            self.0.lines.take();
        }
    }

    /// Whether it is on.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_on.get()
    }

    /// Writes a line, if it is on.
    #[inline]
    pub fn write(&self, topic: Topic, id: Id, text: Arguments<'_>) {
        if self.is_on() {
            self.add(topic, id, text);
        }
    }

    #[cold]
    fn add(&self, topic: Topic, id: Id, text: Arguments<'_>) {
        let mut lines = self.0.lines.borrow_mut();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        let text = text.to_string();
        lines.push_back(Line { topic, id, text });
    }

    /// Takes the oldest line.
    pub fn take(&self) -> Option<Line> {
        self.0.lines.borrow_mut().pop_front()
    }
}
