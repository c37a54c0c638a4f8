//! permessage-deflate (RFC 7692): what a program allows, what was agreed on, and the codecs that carry it out.

/// The smallest window, as its base-2 logarithm, that zlib can compress with. RFC 7692 knows 8, too: a window of 256
/// bytes, for which no raw deflate stream can be made (`deflateInit2` refuses it).
pub const MIN_WINDOW_BITS: u8 = 9;

/// The largest window, 32 KiB, which is what applies where nothing was agreed on.
pub const MAX_WINDOW_BITS: u8 = 15;

/// What a program allows. The same names mean the same for a client and a server (RFC 7692 section 7.1).
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
    /// Bytes that a connection may hold between two messages; 0: no limit.
    pub memory: u64,
}

/// An option that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deflate: {option} must be {low} to {high}, not {value}")]
pub struct OptionError {
    option: &'static str,
    low: u8,
    high: u8,
    value: u8,
}

impl Options {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`OptionError`], whose text names the option and its value.
    pub fn check(&self) -> Result<(), OptionError> {
        let bits = (MIN_WINDOW_BITS, MAX_WINDOW_BITS);
        let given = [
            ("server_max_window_bits", self.server_max_window_bits, bits),
            ("client_max_window_bits", self.client_max_window_bits, bits),
            ("level", Some(self.level), (1, 9)),
        ];
        for (option, value, (low, high)) in given {
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                return Err(OptionError {
                    option,
                    low,
                    high,
                    value,
                });
            }
        }
        Ok(())
    }
}
