//! Where an established connection stands: one state for its life, one for reading, one for writing,
//! and every transition of them.
//!
//! | from | what happens | to |
//! | --- | --- | --- |
//! | `Announced` | the program is told that it is connected | `Open` |
//! | `Open` | our Close is queued | `Closing` |
//! | `Announced`, `Open`, `Closing` | it fails, or ends without a Close | `Ended` |
//! | `Announced`, `Open`, `Closing` | the peer's Close comes, or a shutdown | `Lingering` |
//! | `Ended` | the program is told that it is closed | `Lingering` |
//!
//! A lingering connection is dead when its last bytes are out, or nobody wants them: its source ends.

use std::fmt;

/// How far the life of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its upgrade is done, but the program has not been told yet. Nothing is parsed.
    Announced,
    /// The program uses it.
    Open,
    /// Our Close is queued, and the peer's is awaited.
    Closing,
    /// It has failed or ended; the program will be told next. Nothing more is read.
    Ended,
    /// The program was told that it is closed; the last bytes are on their way.
    Lingering {
        /// Both Close frames have passed, and nothing unread is left.
        is_clean: bool,
    },
}

/// Whether the program wants what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What arrives is delivered.
    Flowing,
    /// The program wants nothing delivered.
    Paused,
}

/// What the stream does with frames that are queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Nothing waits to be written.
    Idle,
    /// There is something new to write, which the next flush does.
    Queued,
    /// The kernel refused bytes, and will say when it takes more.
    Blocked,
    /// The end of our side of the stream was sent.
    Shut,
    /// The stream takes nothing more; what arrived before that is still read.
    Dead,
}

/// The three states of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    life: Life,
    reading: Reading,
    writing: Writing,
}

/// The names of states for the log.
impl fmt::Display for LinkState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinkState {
            life,
            reading,
            writing,
        } = self;
        write!(out, "{life:?}, reading {reading:?}, writing {writing:?}")
    }
}

impl LinkState {
    /// What a transition from `before` has changed, in words for the log.
    #[cold]
    pub fn differences(&self, before: &LinkState) -> [Option<String>; 3] {
        fn difference<T: PartialEq + fmt::Debug>(what: &str, before: T, now: T) -> Option<String> {
            (before != now).then(|| format!("{what}: {before:?} to {now:?}"))
        }
        [
            difference("life", before.life, self.life),
            difference("reading", before.reading, self.reading),
            difference("writing", before.writing, self.writing),
        ]
    }

    /// A connection whose upgrade is done.
    pub fn announced() -> Self {
        LinkState {
            life: Life::Announced,
            reading: Reading::Flowing,
            writing: Writing::Idle,
        }
    }

    /// A connection that never was open, whose answer was sent and whose stream is shut.
    pub fn answered() -> Self {
        LinkState {
            life: Life::Lingering { is_clean: false },
            reading: Reading::Flowing,
            writing: Writing::Shut,
        }
    }

    /// How far its life has come.
    #[inline]
    pub fn life(&self) -> Life {
        self.life
    }

    /// What its stream does with queued frames.
    #[inline]
    pub fn writing(&self) -> Writing {
        self.writing
    }

    // ---- questions ----

    /// Whether the program may send on it.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// Whether our Close is queued and the peer's is awaited.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.life == Life::Closing
    }

    /// Whether the program was told that it is closed.
    #[inline]
    pub fn is_lingering(&self) -> bool {
        matches!(self.life, Life::Lingering { .. })
    }

    /// Whether the program may know it as connected or closing.
    pub fn is_known(&self) -> bool {
        matches!(self.life, Life::Open | Life::Closing | Life::Ended)
    }

    /// Whether it has yet to come to its end.
    pub fn is_alive(&self) -> bool {
        matches!(self.life, Life::Announced | Life::Open | Life::Closing)
    }

    /// Whether what arrives must wait.
    #[inline]
    pub fn holds_back(&self) -> bool {
        // Asked for each message: nearly all come to an open connection.
        if self.life == Life::Open {
            return self.reading == Reading::Paused;
        }
        matches!(self.life, Life::Announced | Life::Ended)
    }

    // ---- transitions of its life ----

    /// The program is told that it is connected. False: its time for that has passed.
    pub fn open(&mut self) -> bool {
        let was_announced = self.life == Life::Announced;
        if was_announced {
            self.life = Life::Open;
        }
        was_announced
    }

    /// Our Close is queued. From here on nothing waits: the peer's Close must be seen.
    pub fn close(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Closing;
            self.reading = Reading::Flowing;
        }
    }

    /// It has failed or ended. False: it had done so before.
    pub fn end(&mut self) -> bool {
        let was_alive = self.is_alive();
        if was_alive {
            self.life = Life::Ended;
        }
        was_alive
    }

    /// The program is told that it is closed.
    pub fn linger(&mut self, is_clean: bool) {
        if !self.is_lingering() {
            self.life = Life::Lingering { is_clean };
            self.reading = Reading::Flowing;
        }
    }

    // ---- transitions of reading ----

    /// The program wants nothing delivered, or goes on. Of no effect unless it is open.
    pub fn pause(&mut self, is_paused: bool) {
        if self.life == Life::Open {
            self.reading = if is_paused {
                Reading::Paused
            } else {
                Reading::Flowing
            };
        }
    }

    // ---- transitions of writing ----

    /// There is something new to write. True: the next flush has to hear of it, if only to throw it
    /// away.
    #[inline]
    pub fn queue(&mut self) -> bool {
        if self.writing == Writing::Idle {
            self.writing = Writing::Queued;
            return true;
        }
        self.writing == Writing::Dead
    }

    /// The kernel has taken everything, or refused some of it.
    #[inline]
    pub fn written(&mut self, is_all: bool) {
        if !matches!(self.writing, Writing::Shut | Writing::Dead) {
            self.writing = if is_all {
                Writing::Idle
            } else {
                Writing::Blocked
            };
        }
    }

    /// The end of our side of the stream was sent.
    pub fn shut(&mut self) {
        if self.writing != Writing::Dead {
            self.writing = Writing::Shut;
        }
    }

    /// The stream takes nothing more.
    pub fn die(&mut self) {
        self.writing = Writing::Dead;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Life = Life::Lingering { is_clean: true };

    fn at(life: Life) -> LinkState {
        LinkState {
            life,
            ..LinkState::announced()
        }
    }

    /// The table at the top of the file, and that nothing else happens.
    #[test]
    fn a_life_goes_one_way() {
        let all = [
            Life::Announced,
            Life::Open,
            Life::Closing,
            Life::Ended,
            CLEAN,
        ];
        let after = |change: fn(&mut LinkState)| {
            all.map(|life| {
                let mut state = at(life);
                change(&mut state);
                state.life()
            })
        };
        let [announced, open, closing, ended, clean] = all;
        assert_eq!(
            after(|state| {
                state.open();
            }),
            [open, open, closing, ended, clean]
        );
        assert_eq!(
            after(LinkState::close),
            [announced, closing, closing, ended, clean]
        );
        assert_eq!(
            after(|state| {
                state.end();
            }),
            [ended, ended, ended, ended, clean]
        );
        let unclean = Life::Lingering { is_clean: false };
        assert_eq!(
            after(|state| state.linger(false)),
            [unclean, unclean, unclean, unclean, clean]
        );
    }

    /// A program must not ask about what it has not been told of yet, or has been told the end of.
    #[test]
    fn a_program_knows_what_it_was_told_of() {
        let others = [Life::Announced, Life::Closing, Life::Ended, CLEAN];
        assert!(!others.iter().any(|&life| at(life).is_open()) && at(Life::Open).is_open());
        let known = [Life::Open, Life::Closing, Life::Ended];
        assert!(known.iter().all(|&life| at(life).is_known()));
        assert!(!at(Life::Announced).is_known() && !at(CLEAN).is_known());
    }

    #[test]
    fn only_an_open_connection_is_paused() {
        let mut state = at(Life::Closing);
        state.pause(true);
        assert!(!state.holds_back());
        let mut state = at(Life::Open);
        state.pause(true);
        assert!(state.holds_back());
        state.close();
        assert!(!state.holds_back(), "the peer's Close must be seen");
    }

    #[test]
    fn what_is_dead_or_shut_stays_so() {
        let mut state = at(Life::Open);
        assert!(state.queue());
        assert!(!state.queue(), "it is noted once");
        state.written(false);
        assert!(!state.queue(), "the kernel will say");
        state.written(true);
        assert_eq!(state.writing(), Writing::Idle);
        state.shut();
        assert!(!state.queue());
        state.written(true);
        assert_eq!(state.writing(), Writing::Shut);
        state.die();
        state.shut();
        state.written(false);
        assert_eq!(state.writing(), Writing::Dead);
        assert!(state.queue(), "what is queued all the same is thrown away");
        assert_eq!(state.writing(), Writing::Dead);
    }
}
