//! Close codes and reasons (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt::Display;

use crate::connection::Failure;
use crate::utf8;

/// The longest reason in bytes: a control frame's 125 less the two of the code.
pub const MAX_REASON: usize = 123;

/// A normal end.
pub const NORMAL: u16 = 1000;
/// This end goes away.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// No code was in the Close frame. Never on the wire.
pub const NO_STATUS: u16 = 1005;
/// The TCP connection ended without a Close frame. Never on the wire.
pub const ABNORMAL: u16 = 1006;
/// Text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// The text of the failure for it.
pub(crate) const NOT_UTF8: &str =
    "peer sent a text message that is not UTF-8 (RFC 6455 section 8.1)";
/// A message larger than we accept.
pub const TOO_BIG: u16 = 1009;
/// The server is overloaded: here, the peer does not take what it is sent.
pub const TRY_AGAIN_LATER: u16 = 1013;

/// Whether a Close frame may carry `code`: 1000-1003, 1007-1014 and 3000-4999. The others of the first
/// thousands are reserved, or mean that there was no frame to carry them (RFC 6455 section 7.4.1).
pub fn is_valid_to_send(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Whether a peer's Close frame may carry `code`: the same ones that we may send.
pub fn is_valid_received(code: u16) -> bool {
    is_valid_to_send(code)
}

/// A code that no Close frame may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", refusal(.0))]
pub struct CloseCodeError(pub i64);

/// Why a code is refused that was given as this, which need not be a number.
pub fn refusal(given: impl Display) -> String {
    format!("invalid close code {given} (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)")
}

/// The code a program gave, if a Close frame may carry it.
///
/// # Errors
/// [`CloseCodeError`], whose text names the code and the ones allowed.
pub fn check_code(code: i64) -> Result<u16, CloseCodeError> {
    match u16::try_from(code) {
        Ok(valid) if is_valid_to_send(valid) => Ok(valid),
        _ => Err(CloseCodeError(code)),
    }
}

/// `reason` cut to 123 bytes, without splitting a UTF-8 character.
pub fn cut_reason(reason: &[u8]) -> &[u8] {
    if reason.len() <= MAX_REASON {
        return reason;
    }
    // A character has at most three continuation bytes; more of them in a row are no UTF-8 anyway.
    let start = (MAX_REASON - 3..=MAX_REASON)
        .rev()
        .find(|&at| reason[at] & 0xC0 != 0x80);
    &reason[..start.unwrap_or(MAX_REASON)]
}

/// What a peer reads as the reason when its connection is failed with the text of a [`Failure`]: that is told about
/// it, and not to it.
pub fn reason_for(text: &str) -> &str {
    if text == NOT_UTF8 {
        return "text is not valid UTF-8";
    }
    ["peer sent ", "peer "]
        .iter()
        .find_map(|about| text.strip_prefix(about))
        .unwrap_or(text)
}

/// The code and the reason in a Close frame's payload, which [`check_payload`] has accepted.
pub(crate) fn split_payload(payload: &[u8]) -> (Option<u16>, &[u8]) {
    match payload {
        [high, low, reason @ ..] => (Some(u16::from_be_bytes([*high, *low])), reason),
        _ => (None, &[]),
    }
}

/// Checks a peer's Close payload: empty, or a valid code and a reason in UTF-8.
pub(crate) fn check_payload(payload: &[u8], validate_utf8: bool) -> Result<(), Failure> {
    if payload.len() == 1 {
        return Err(Failure::protocol(
            "peer sent a Close frame of one byte (RFC 6455 section 5.5.1)",
        ));
    }
    let (code, reason) = split_payload(payload);
    if code.is_some_and(|code| !is_valid_received(code)) {
        return Err(Failure::protocol(
            "peer sent an invalid close code (RFC 6455 section 7.4)",
        ));
    }
    if validate_utf8 && !utf8::is_valid(reason) {
        return Err(Failure::encoding(
            "peer sent a close reason that is not UTF-8 (RFC 6455 section 5.5.1)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc_and_its_registry() {
        // Miri takes a minute for all of them.
        let last = if cfg!(miri) { 5100 } else { u16::MAX };
        let valid: Vec<u16> = (0..=last).filter(|code| is_valid_received(*code)).collect();
        let expected: Vec<u16> = (1000..=1003)
            .chain(1007..=1014)
            .chain(3000..=4999)
            .collect();
        assert_eq!(valid, expected);
        assert!((0..=last).all(|code| is_valid_to_send(code) == is_valid_received(code)));
    }

    #[test]
    fn a_refused_code_is_named() {
        assert_eq!(check_code(4000), Ok(4000));
        for code in [
            -1,
            0,
            999,
            1004,
            1005,
            1006,
            1015,
            2999,
            5000,
            65536 + 1000,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(
                check_code(code).unwrap_err().to_string(),
                format!(
                    "invalid close code {code} (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)"
                ),
            );
        }
    }

    #[test]
    fn the_peer_is_not_told_about_itself() {
        assert_eq!(reason_for(NOT_UTF8), "text is not valid UTF-8");
        assert_eq!(
            reason_for("peer sent an unmasked frame (RFC 6455 section 5.1)"),
            "an unmasked frame (RFC 6455 section 5.1)"
        );
        assert_eq!(
            reason_for("message exceeds max_message_size"),
            "message exceeds max_message_size"
        );
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(cut_reason(b"bye"), b"bye");
        assert_eq!(cut_reason(&[b'x'; 123]).len(), 123);
        assert_eq!(cut_reason(&[b'x'; 124]).len(), 123);
        for character in ["\u{e9}", "\u{20ac}", "\u{1f600}"] {
            for shift in 0..4 {
                let reason = "x".repeat(shift) + &character.repeat(123);
                let cut = cut_reason(reason.as_bytes());
                assert!(
                    std::str::from_utf8(cut).is_ok(),
                    "{character}, shifted by {shift}"
                );
                assert!(cut.len() > 123 - character.len() && cut.len() <= 123);
            }
        }
    }

    #[test]
    fn a_reason_that_is_no_utf8_is_cut_all_the_same() {
        assert_eq!(cut_reason(&[0x80; 200]).len(), 123);
        let begun = [&[b'x'; 100][..], &[0x80; 100]].concat();
        assert_eq!(cut_reason(&begun), &begun[..123]);
    }
}
