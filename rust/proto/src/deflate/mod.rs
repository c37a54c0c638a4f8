//! permessage-deflate (RFC 7692): what a program allows, what was agreed on, and the codecs that carry it out.

use std::fmt::Display;

mod inflater;
mod pool;
mod receive;
mod stream;
mod window;

pub use pool::Codecs;
pub use stream::DeflateWay;
pub(crate) use stream::{compress_alone, Deflate};

/// Bytes of a compressor, less what its window adds: tables that zlib-rs makes whatever the window.
const COMPRESSOR: u64 = 249_000;

/// Bytes of a compressor for each byte of its window: twice the window, and a position of two bytes for each of it.
const COMPRESSOR_PER_BYTE: u64 = 4;

/// Bytes of an inflater, its window included, which zlib-rs makes 32 KiB long.
const INFLATER: u64 = 47_700;

/// The smallest window, as its base-2 logarithm, that zlib can compress with. RFC 7692 knows 8, too: a window of 256
/// bytes, for which no raw deflate stream can be made (`deflateInit2` refuses it).
pub(crate) const MIN_WINDOW_BITS: u8 = 9;

/// The largest window, 32 KiB, which is what applies where nothing was agreed on.
pub(crate) const MAX_WINDOW_BITS: u8 = 15;

/// The level of the fastest compressor.
const MIN_LEVEL: u8 = 1;

/// The level of the one that compresses most.
const MAX_LEVEL: u8 = 9;

/// What a program allows of permessage-deflate. A client's options mean the same as a server's (RFC 7692 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The server is to forget what it sent after each message.
    pub server_no_context_takeover: bool,
    /// The client is to forget what it sent after each message.
    pub client_no_context_takeover: bool,
    /// The base-2 logarithm of the server's window, 9 to 15.
    pub server_max_window_bits: Option<u8>,
    /// The base-2 logarithm of the client's window, 9 to 15.
    pub client_max_window_bits: Option<u8>,
    /// Bytes; a message with fewer goes out as it is.
    pub threshold: u64,
    /// From 1, fast, to 9, small.
    pub level: u8,
    /// Bytes that a connection may hold between two messages; 0: no limit. What is negotiated is made to fit: only a
    /// direction with context takeover holds anything, an inflater 47,700 bytes for what the peer sends, a compressor
    /// [`compressor_size`] for what we send. If the peer's part alone does not fit, it is asked (by a client) or bound
    /// (by a server) to do without context takeover. What is left goes to the largest window of ours that fits, from
    /// what was agreed on down to 9 bits; if none does, we do without context takeover.
    pub memory: u64,
}

/// An option that has a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangedOption {
    /// [`Options::server_max_window_bits`]
    ServerMaxWindowBits,
    /// [`Options::client_max_window_bits`]
    ClientMaxWindowBits,
    /// [`Options::level`]
    Level,
}

impl RangedOption {
    /// The least and the greatest value.
    fn range(self) -> (u8, u8) {
        match self {
            Self::Level => (MIN_LEVEL, MAX_LEVEL),
            _ => (MIN_WINDOW_BITS, MAX_WINDOW_BITS),
        }
    }

    /// Why a value is refused that was given as this, which need not be a number.
    pub fn refusal(self, given: impl Display) -> String {
        let name = match self {
            Self::ServerMaxWindowBits => "server_max_window_bits",
            Self::ClientMaxWindowBits => "client_max_window_bits",
            Self::Level => "level",
        };
        let (low, high) = self.range();
        format!("{name} must be {low} to {high}, not '{given}'")
    }
}

/// An option that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .option.refusal(.value))]
pub struct OptionError {
    /// Which one.
    pub option: RangedOption,
    /// Its value.
    pub value: u8,
}

impl Options {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`OptionError`], whose text names the option and its value.
    pub fn check(&self) -> Result<(), OptionError> {
        let (server, client) = (self.server_max_window_bits, self.client_max_window_bits);
        for (option, value) in [
            (RangedOption::ServerMaxWindowBits, server),
            (RangedOption::ClientMaxWindowBits, client),
            (RangedOption::Level, Some(self.level)),
        ] {
            let (low, high) = option.range();
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                return Err(OptionError { option, value });
            }
        }
        Ok(())
    }
}

/// How one side's messages are compressed (RFC 7692 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// No message refers to one before it.
    pub no_context_takeover: bool,
    /// The base-2 logarithm of the window, 8 to 15.
    pub window_bits: u8,
}

impl Direction {
    pub(crate) fn new(no_context_takeover: bool, window_bits: Option<u8>) -> Self {
        Self {
            no_context_takeover,
            window_bits: window_bits.unwrap_or(MAX_WINDOW_BITS),
        }
    }
}

/// What a client and a server have agreed on, and what this side does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The client's messages.
    pub client: Direction,
    /// The server's messages.
    pub server: Direction,
    /// Bytes; a message with fewer goes out as it is.
    pub threshold: u64,
    /// From 1, fast, to 9, small.
    pub level: u8,
}

/// Bytes that a compressor with this window holds.
pub fn compressor_size(window_bits: u8) -> u64 {
    COMPRESSOR + (COMPRESSOR_PER_BYTE << window_bits)
}

/// Makes two directions hold no more than `memory` bytes between two messages (0: whatever they need): without
/// context takeover a direction holds nothing. The peer's keeps its codec first, since it is the smaller one and the
/// window is the peer's to use; ours gets the largest window that fits into the rest.
pub(crate) fn fit(memory: u64, ours: &mut Direction, peers: &mut Direction) {
    if memory == 0 {
        return;
    }
    let mut rest = memory;
    if !peers.no_context_takeover {
        match rest.checked_sub(INFLATER) {
            Some(left) => rest = left,
            None => peers.no_context_takeover = true,
        }
    }
    if !ours.no_context_takeover {
        let largest = (MIN_WINDOW_BITS..=ours.window_bits)
            .rev()
            .find(|&bits| compressor_size(bits) <= rest);
        match largest {
            Some(bits) => ours.window_bits = bits,
            None => ours.no_context_takeover = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
        threshold: 0,
        level: 1,
        memory: 0,
    };

    #[test]
    fn an_option_out_of_range_is_named() {
        assert_eq!(OPTIONS.check(), Ok(()));
        let refused = |options: Options| options.check().unwrap_err().to_string();
        for bits in [0, 1, 7, 8, 16, 255] {
            let text = refused(Options {
                server_max_window_bits: Some(bits),
                ..OPTIONS
            });
            let expected = format!("server_max_window_bits must be 9 to 15, not '{bits}'");
            assert_eq!(text, expected);
            let text = refused(Options {
                client_max_window_bits: Some(bits),
                ..OPTIONS
            });
            let expected = format!("client_max_window_bits must be 9 to 15, not '{bits}'");
            assert_eq!(text, expected);
        }
        for level in [0, 10, 255] {
            let text = refused(Options { level, ..OPTIONS });
            assert_eq!(text, format!("level must be 1 to 9, not '{level}'"));
        }
    }

    #[test]
    fn memory_takes_context_takeover_and_window_as_far_as_it_must() {
        let fitted = |memory| {
            let mut ours = Direction::new(false, None);
            let mut peers = Direction::new(false, None);
            fit(memory, &mut ours, &mut peers);
            assert_eq!(
                peers.window_bits, 15,
                "an inflater's size is always the same"
            );
            let ours = (!ours.no_context_takeover).then_some(ours.window_bits);
            (ours, !peers.no_context_takeover)
        };
        let both = |bits| compressor_size(bits) + INFLATER;
        assert_eq!(fitted(0), (Some(15), true));
        assert_eq!(fitted(u64::MAX), (Some(15), true));
        assert_eq!(fitted(both(15)), (Some(15), true));
        assert_eq!(fitted(both(15) - 1), (Some(14), true));
        assert_eq!(fitted(both(9)), (Some(9), true));
        assert_eq!(fitted(both(9) - 1), (None, true));
        assert_eq!(fitted(INFLATER), (None, true));
        assert_eq!(fitted(INFLATER - 1), (None, false));
        assert_eq!(fitted(1), (None, false));
    }
}
