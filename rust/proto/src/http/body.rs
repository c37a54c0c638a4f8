//! A request's body: so many bytes, or chunks (RFC 9112 section 7.1).

use httparse::{parse_chunk_size, Status};

use super::MAX_BODY;
use crate::handshake::{is_token, Rejection};

/// The longest line between chunks, in bytes.
const MAX_LINE: usize = 1024;
/// So many times the limit may be read for a body in chunks: with chunks of a few bytes each, what stands between them is
/// more than they are.
const ENCODED_TIMES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    /// So many bytes are to come, and then the end.
    Length(usize),
    /// The line with the size of a chunk is next.
    Size,
    /// The rest of a chunk is next, and the end of its line.
    Chunk(usize),
    /// The lines behind the last chunk.
    Trailer,
    Complete,
}

/// The body of a request, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    state: BodyState,
    bytes: Vec<u8>,
    /// Bytes that were read of a body in chunks, with their size lines.
    encoded: usize,
    /// The most bytes that a body in chunks may have.
    limit: usize,
}

impl Body {
    /// A body of so many bytes, which the caller has compared with [`MAX_BODY`], or does not read to its end.
    pub(crate) fn of_length(length: usize) -> Self {
        Self::new(match length {
            0 => BodyState::Complete,
            length => BodyState::Length(length),
        })
    }

    /// A body in chunks.
    pub(super) fn chunked() -> Self {
        Self::new(BodyState::Size)
    }

    /// A body in chunks of any size, of which the caller reads no more than it wants.
    pub(crate) fn chunked_unlimited() -> Self {
        Self {
            limit: usize::MAX,
            ..Self::chunked()
        }
    }

    fn new(state: BodyState) -> Self {
        Self {
            state,
            bytes: Vec::new(),
            encoded: 0,
            limit: MAX_BODY,
        }
    }

    /// Whether the whole body is there.
    pub fn is_complete(&self) -> bool {
        self.state == BodyState::Complete
    }

    /// The bytes of the body, as far as they were read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the body.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes from the front of `input` what belongs to the body. Returns whether that is complete; if not, more input
    /// is needed.
    ///
    /// # Errors
    /// The [`Rejection`] to answer with; the connection cannot be used any more.
    pub fn take(&mut self, input: &mut Vec<u8>) -> Result<bool, Rejection> {
        let mut used = 0;
        while let Some(step) = self.step(&input[used..])? {
            used += step;
        }
        input.drain(..used);
        Ok(self.is_complete())
    }

    /// The bytes that the next step uses up; `None`: there are not enough.
    fn step(&mut self, input: &[u8]) -> Result<Option<usize>, Rejection> {
        let used = match self.state {
            BodyState::Complete => return Ok(None),
            BodyState::Length(left) => {
                let part = left.min(input.len());
                self.bytes.extend_from_slice(&input[..part]);
                self.state = match left - part {
                    0 => BodyState::Complete,
                    left => BodyState::Length(left),
                };
                // Without any progress there is no further step.
                return Ok((part > 0).then_some(part));
            }
            BodyState::Size => self.size(input)?,
            BodyState::Chunk(left) => self.chunk(left, input)?,
            BodyState::Trailer => self.trailer(input)?,
        };
        if let Some(used) = used {
            self.encoded += used;
            if self.encoded > self.limit.saturating_mul(ENCODED_TIMES) {
                return Err(Rejection::new(413));
            }
        }
        Ok(used)
    }

    fn size(&mut self, input: &[u8]) -> Result<Option<usize>, Rejection> {
        let Some(line) = line(input)? else {
            return Ok(None);
        };
        // httparse takes a line without a digit for a 0, and anything at all for an extension.
        let has_size = line[0].is_ascii_hexdigit() && is_text(&line[..line.len() - 2]);
        let size = match parse_chunk_size(line) {
            Ok(Status::Complete((_, size))) if has_size => size,
            _ => return Err(malformed()),
        };
        self.state = match usize::try_from(size) {
            Ok(0) => BodyState::Trailer,
            Ok(size) if size <= self.limit - self.bytes.len() => BodyState::Chunk(size),
            _ => return Err(Rejection::new(413)),
        };
        Ok(Some(line.len()))
    }

    fn chunk(&mut self, left: usize, input: &[u8]) -> Result<Option<usize>, Rejection> {
        if left > 0 {
            let part = left.min(input.len());
            self.bytes.extend_from_slice(&input[..part]);
            self.state = BodyState::Chunk(left - part);
            return Ok((part > 0).then_some(part));
        }
        match input {
            [b'\r', b'\n', ..] => {
                self.state = BodyState::Size;
                Ok(Some(2))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(malformed()),
        }
    }

    /// Trailers are not delivered. But what is no field may be the next request, for a proxy that reads less
    /// (RFC 9112 section 7.1.2).
    fn trailer(&mut self, input: &[u8]) -> Result<Option<usize>, Rejection> {
        let Some(line) = line(input)? else {
            return Ok(None);
        };
        match &line[..line.len() - 2] {
            [] => self.state = BodyState::Complete,
            field if is_field(field) => {}
            _ => return Err(malformed()),
        }
        Ok(Some(line.len()))
    }
}

/// The first line, with the CR LF at its end.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Rejection> {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(at) if at < MAX_LINE && at > 0 && input[at - 1] == b'\r' => Ok(Some(&input[..=at])),
        None if input.len() < MAX_LINE => Ok(None),
        _ => Err(malformed()),
    }
}

/// Whether this is `name:value` (RFC 9112 section 5.1): no blank before the colon, nor before the name, where it would
/// make a folded line of the one above.
fn is_field(line: &[u8]) -> bool {
    match line.iter().position(|&byte| byte == b':') {
        Some(colon) => is_token(&line[..colon]) && is_text(line),
        None => false,
    }
}

/// Whether no control character is in it, a CR included; HTAB is none here (RFC 9110 section 5.5).
fn is_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn malformed() -> Rejection {
    Rejection::with_text(400, "The chunks of the request's body are malformed.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read when the input comes in parts of `step` bytes, and what is left of it.
    fn read(body: &Body, input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), u16> {
        let mut body = body.clone();
        let mut held = Vec::new();
        let mut rest = input;
        while !body.take(&mut held).map_err(|rejection| rejection.status)? {
            let part = step.min(rest.len());
            assert!(part > 0, "the body is not complete");
            held.extend_from_slice(&rest[..part]);
            rest = &rest[part..];
        }
        held.extend_from_slice(rest);
        Ok((body.into_bytes(), held))
    }

    #[test]
    fn ends_where_it_says_however_it_is_cut() {
        let chunks = b"5\r\nhello\r\n00B ; x=\"y\t\xE9\"\r\n, world! :-\r\n0\r\nX-Sum: 1\r\nx:\r\nY:\t\xE9 \r\n\r\nGET";
        let cases = [
            (Body::of_length(0), &b"GET"[..], &b""[..]),
            (Body::of_length(5), b"helloGET", b"hello"),
            (Body::chunked(), b"0\r\n\r\nGET", b""),
            (Body::chunked(), chunks, b"hello, world! :-"),
        ];
        for (body, input, expected) in cases {
            for step in 1..=input.len() {
                let (bytes, left) = read(&body, input, step).unwrap();
                assert_eq!((&bytes[..], &left[..]), (expected, &b"GET"[..]), "{step}");
            }
        }
    }

    #[test]
    fn chunks_that_are_none_are_refused() {
        let long = format!("1;{}\r\n", "x".repeat(MAX_LINE));
        for input in [
            "\r\n",
            ";x\r\n",
            " 1\r\n",
            "g\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\nx",
            "\n",
            "1;a\nb\r\n",
            "1\r\nxy\r\n",
            "1\r\nx\n",
            "0\r\nX-A: 1\n\r\n",
            "1;\0\r\nx\r\n0\r\n",
            "1;a=\x01\r\nx\r\n0\r\n",
            "1;a=\x7f\r\nx\r\n0\r\n",
            "1;a\rb\r\nx\r\n0\r\n",
            "1;a\r\r\nx\r\n0\r\n",
            "1\x0b\r\nx\r\n0\r\n",
            "0;\0\r\n",
            "0\r\n\r\r\n",
            "0\r\n\0\r\n",
            "0\r\n\x0b\r\n",
            "0\r\n \r\n",
            "0\r\n\t\r\n",
            "0\r\nX-A: 1\r\n b\r\n",
            "0\r\nX-A: 1\r\n\tX-B: 1\r\n",
            "0\r\nGET / HTTP/1.1\r\nHost: h\r\n",
            "0\r\nX-A : 1\r\n",
            "0\r\nX-A\t: 1\r\n",
            "0\r\n: 1\r\n",
            "0\r\nX A: 1\r\n",
            "0\r\nX-A: 1\r2\r\n",
            "0\r\nX-A: 1\r\r\n",
            "0\r\nX-A: \0\r\n",
            "0\r\nX-A: \x08\r\n",
            "11112222333344445\r\n",
            &long,
        ] {
            let least = if cfg!(miri) { 1 + input.len() / 100 } else { 1 };
            for step in [least, input.len()] {
                let padded = format!("{input}{}", "\r\n".repeat(2));
                assert_eq!(
                    read(&Body::chunked(), padded.as_bytes(), step),
                    Err(400),
                    "{input:?}"
                );
            }
        }
    }

    /// A body that has what its limits allow is one, and one octet more is too much: of the body, of a line, and of what
    /// stands between chunks.
    #[test]
    fn limits_are_exact() {
        let line = |length: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length - 4));
        for step in [if cfg!(miri) { 300 } else { 1 }, MAX_LINE, 2 * MAX_LINE] {
            let read = |text: &str| read(&Body::chunked(), text.as_bytes(), step);
            assert_eq!(read(&line(MAX_LINE)).unwrap().0, b"x");
            assert_eq!(read(&line(MAX_LINE + 1)), Err(400));
        }
        // What cannot become a line any more is not waited for.
        let mut begun = line(MAX_LINE + 2).into_bytes();
        begun.truncate(MAX_LINE - 1);
        assert_eq!(Body::chunked().take(&mut begun.clone()), Ok(false));
        begun.push(b'e');
        assert!(Body::chunked().take(&mut begun).is_err());
        if cfg!(miri) {
            return;
        }
        let most = MAX_BODY * ENCODED_TIMES;
        let chunks = format!("1;{}\r\nx\r\n", "e".repeat(1000)).repeat(most / 1007);
        let end = "0\r\n\r\n";
        let extended = |length: usize| {
            let left = length - chunks.len() - end.len();
            format!("{chunks}1;{}\r\nx\r\n{end}", "e".repeat(left - 7))
        };
        let all = extended(most);
        assert_eq!(all.len(), most);
        let bytes = read(&Body::chunked(), all.as_bytes(), 4096).unwrap().0;
        assert_eq!(bytes.len(), most / 1007 + 1);
        let one_more = extended(most + 1);
        assert_eq!(read(&Body::chunked(), one_more.as_bytes(), 4096), Err(413));
    }

    #[test]
    fn too_much_is_refused_before_it_is_there() {
        assert_eq!(read(&Body::chunked(), b"10001\r\n", 1), Err(413));
        if cfg!(miri) {
            return;
        }
        let all = format!("10000\r\n{}\r\n", "x".repeat(MAX_BODY));
        let one_more = format!("{all}1\r\n");
        assert_eq!(read(&Body::chunked(), one_more.as_bytes(), 4096), Err(413));
        let exactly = format!("{all}0\r\n\r\n");
        assert_eq!(
            read(&Body::chunked(), exactly.as_bytes(), 4096)
                .unwrap()
                .0
                .len(),
            MAX_BODY
        );
        let tiny = format!("1;{}\r\nx\r\n", "e".repeat(900)).repeat(1000);
        assert_eq!(read(&Body::chunked(), tiny.as_bytes(), 4096), Err(413));
        let trailer = format!("0\r\n{}", "X-A: 1\r\n".repeat(50_000));
        assert_eq!(read(&Body::chunked(), trailer.as_bytes(), 4096), Err(413));
    }
}
