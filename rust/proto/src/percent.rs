//! Percent-encoding (RFC 3986 section 2.1).

/// `%XX` decoded; a `%` without two hexadecimal digits stays as it is.
pub fn decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut byte = *first;
        if let (b'%', [high, low, after @ ..]) = (byte, tail) {
            if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                byte = high << 4 | low;
                rest = after;
            }
        }
        decoded.push(byte);
    }
    decoded
}
