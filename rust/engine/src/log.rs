//! The log of what happens inside, line by line, for debugging. It is off as a rule, and then every line
//! costs one comparison: its text is not made.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::rc::Rc;

use crate::event::Id;

/// The most lines that are kept until they are taken; the oldest are dropped first.
const MAX_LINES: usize = 4096;
/// The most bytes of a line's text.
const MAX_TEXT: usize = 1000;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What the line is about.
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
    /// A step on the way to a connection: a name, an attempt, TLS, the lines of a head.
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
    /// How many lines were dropped before they were taken.
    lost: Cell<usize>,
}

impl Log {
    /// Turns the log on or off. Lines that were made can still be taken.
    pub fn set(&self, is_on: bool) {
        self.0.is_on.set(is_on);
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
        if lines.len() == MAX_LINES {
            lines.pop_front();
            self.0.lost.set(self.0.lost.get() + 1);
        }
        let text = printable(&text.to_string());
        lines.push_back(Line { topic, id, text });
    }

    /// Takes the oldest line; before it one that says how many were lost, if any were.
    pub fn take(&self) -> Option<Line> {
        let lost = self.0.lost.take();
        if lost > 0 {
            return Some(Line {
                topic: Topic::Error,
                id: 0,
                text: format!("{lost} lines of this log were lost: too many at once"),
            });
        }
        self.0.lines.borrow_mut().pop_front()
    }
}

/// A text as it may be written to a terminal: all but printable ASCII is escaped, since it may come from a
/// peer. Long texts are shortened.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT));
    for (at, character) in text.char_indices() {
        if at >= MAX_TEXT {
            shown.push_str("...");
            break;
        }
        match character {
            ' '..='~' => shown.push(character),
            _ => shown.extend(character.escape_default()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<String> {
        std::iter::from_fn(|| log.take().map(|line| line.text)).collect()
    }

    #[test]
    fn lines_are_made_while_it_is_on_and_taken_in_their_order() {
        let log = Log::default();
        log.write(Topic::State, 1, format_args!("too early"));
        log.set(true);
        log.clone().write(Topic::State, 1, format_args!("first"));
        log.write(Topic::State, 1, format_args!("second"));
        log.set(false);
        log.write(Topic::State, 1, format_args!("too late"));
        assert_eq!(texts(&log), ["first", "second"]);
    }

    #[test]
    fn nobody_who_takes_no_lines_is_buried_in_them() {
        let log = Log::default();
        log.set(true);
        for number in 0..MAX_LINES + 3 {
            log.write(Topic::Timer, 1, format_args!("{number}"));
        }
        let texts = texts(&log);
        assert_eq!(texts.len(), MAX_LINES + 1);
        assert_eq!(texts[0], "3 lines of this log were lost: too many at once");
        assert_eq!(texts[1], "3");
    }

    #[test]
    fn a_line_is_printable_and_has_an_end() {
        let log = Log::default();
        log.set(true);
        let long = "x".repeat(MAX_TEXT + 1);
        log.write(Topic::Error, 1, format_args!("a\x1b[2J\n\u{e9}"));
        log.write(Topic::Error, 1, format_args!("{long}"));
        log.write(Topic::Error, 1, format_args!("'a' \"b\" \\"));
        let texts = texts(&log);
        assert_eq!(texts[0], "a\\u{1b}[2J\\n\\u{e9}");
        assert_eq!(texts[1], format!("{}...", &long[..MAX_TEXT]));
        assert_eq!(texts[2], "'a' \"b\" \\", "printable as it is");
    }
}
