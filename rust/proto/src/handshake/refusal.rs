//! A server's refusal of an upgrade, as far as a client hands it to its program: status, headers, and the beginning of
//! the body.

use super::headers::{add_to_view, values};
use super::response::{final_response, UpgradeResponseError};
use super::{HeadLimits, Headers};
use crate::http::Body;

/// The bytes of a body that are kept. What is beyond is not waited for.
const MAX_KEPT: usize = 16 * 1024;
/// The most that is read for them, the lines between chunks included.
const MAX_READ: usize = 4 * MAX_KEPT;

/// A response that is no upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRefusal {
    /// The status.
    pub status: u16,
    /// The response's headers.
    pub headers: Headers,
    body: RefusalBody,
    read: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RefusalBody {
    /// Its end is known.
    Framed(Body),
    /// It goes on to the end of the stream.
    UntilEnd(Vec<u8>),
}

impl UpgradeRefusal {
    /// Reads the head at the front of `buf`, which is complete and accepts no upgrade. The bytes of it, and the refusal,
    /// whose body has yet to be read; `None`: it is none.
    pub fn parse(buf: &[u8], limits: HeadLimits) -> Option<(usize, UpgradeRefusal)> {
        let found = final_response(buf, limits, true, |parsed, end| {
            let mut headers = Headers::new();
            add_to_view(&mut headers, parsed.headers.iter());
            let refusal = UpgradeRefusal {
                status: parsed.code.unwrap_or(0),
                headers,
                body: framing(parsed),
                read: 0,
            };
            Ok::<_, UpgradeResponseError>((end, refusal))
        });
        found.ok().flatten()
    }

    /// Takes from the front of `input` what belongs to the body. Returns whether there is enough: the whole, or as much
    /// as is kept. A body whose chunks are malformed ends before them.
    pub fn take(&mut self, input: &mut Vec<u8>) -> bool {
        self.read += input.len();
        let (is_complete, length) = match &mut self.body {
            RefusalBody::Framed(body) => match body.take(input) {
                Ok(is_complete) => (is_complete, body.bytes().len()),
                Err(_) => (true, 0),
            },
            RefusalBody::UntilEnd(bytes) => {
                bytes.append(input);
                (false, bytes.len())
            }
        };
        // What a chunk's line lacks stays in the input, and is counted anew.
        self.read -= input.len();
        is_complete || length >= MAX_KEPT || self.read >= MAX_READ
    }

    /// The body, as far as it is there and kept.
    pub fn into_body(self) -> Vec<u8> {
        let mut bytes = match self.body {
            RefusalBody::Framed(body) => body.into_bytes(),
            RefusalBody::UntilEnd(bytes) => bytes,
        };
        bytes.truncate(MAX_KEPT);
        bytes
    }
}

/// How long the body of a response is (RFC 9112 section 6.3). One whose length is not clear goes on to the end: it is the
/// last on its connection.
fn framing(parsed: &httparse::Response<'_, '_>) -> RefusalBody {
    let mut lengths = values(parsed.headers, "Content-Length");
    let mut codings = values(parsed.headers, "Transfer-Encoding");
    if matches!(parsed.code, Some(101 | 204 | 304)) {
        return RefusalBody::Framed(Body::of_length(0));
    }
    match (
        lengths.next(),
        lengths.next(),
        codings.next(),
        codings.next(),
    ) {
        (_, _, Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
            RefusalBody::Framed(Body::chunked_unlimited())
        }
        (Some(length), None, None, _)
            if !length.is_empty() && length.iter().all(u8::is_ascii_digit) =>
        {
            let text = std::str::from_utf8(length).unwrap_or_default();
            RefusalBody::Framed(Body::of_length(text.parse().unwrap_or(usize::MAX)))
        }
        _ => RefusalBody::UntilEnd(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, body, and whether more would be read, of a response that comes in parts of `step` bytes.
    fn read(text: &[u8], step: usize) -> (u16, Vec<u8>, bool) {
        let (length, mut refusal) = UpgradeRefusal::parse(text, HeadLimits::default()).unwrap();
        let mut input = Vec::new();
        let mut is_enough = refusal.take(&mut input);
        for part in text[length..].chunks(step) {
            if !is_enough {
                input.extend_from_slice(part);
                is_enough = refusal.take(&mut input);
            }
        }
        (refusal.status, refusal.into_body(), is_enough)
    }

    #[test]
    fn the_body_ends_where_it_says() {
        for step in [1, 3, 4096] {
            let found = read(
                b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nhello, world",
                step,
            );
            assert_eq!(found, (403, b"hello".to_vec(), true));
            let found = read(
                b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2;x\r\n, \r\n0\r\n\r\nx",
                step,
            );
            assert_eq!(found, (401, b"hello, ".to_vec(), true));
            let found = read(b"HTTP/1.0 500 No\r\n\r\nhello", step);
            assert_eq!(found, (500, b"hello".to_vec(), false));
            let found = read(b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", step);
            assert_eq!(found, (204, Vec::new(), true));
            let found = read(b"HTTP/1.1 302 No\r\nContent-Length: 0\r\n\r\n", step);
            assert_eq!(found, (302, Vec::new(), true));
        }
    }

    #[test]
    fn no_more_is_kept_and_read_than_the_limit() {
        let much = vec![b'x'; 100_000];
        for head in [
            "Content-Length: 99999999999999999999999\r\n\r\n",
            "\r\n",
            "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        ] {
            let text = [format!("HTTP/1.1 403 No\r\n{head}").as_bytes(), &much].concat();
            let (_, body, is_enough) = read(&text, 1000);
            assert_eq!((body.len(), is_enough), (MAX_KEPT, true), "{head}");
        }
        // Lines between chunks count, too.
        let tiny = format!("1;{}\r\nx\r\n", "e".repeat(900)).repeat(1000);
        let text = format!("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n{tiny}");
        let (_, body, is_enough) = read(text.as_bytes(), 1000);
        assert!(is_enough && body.len() < 100, "{}", body.len());
    }

    #[test]
    fn nothing_beyond_what_is_kept_is_waited_for() {
        for head in [
            "Content-Length: 100000\r\n\r\n",
            "\r\n",
            "Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
        ] {
            let text = format!("HTTP/1.1 403 No\r\n{head}");
            let (length, mut refusal) =
                UpgradeRefusal::parse(text.as_bytes(), HeadLimits::default()).unwrap();
            let mut input = text.as_bytes()[length..].to_vec();
            input.resize(input.len() + MAX_KEPT - 1, b'x');
            assert!(!refusal.take(&mut input), "{head}");
            assert!(refusal.take(&mut vec![b'x']), "{head}");
        }
    }

    /// A line of a chunk that comes in pieces is looked at again with each, and counts once.
    #[test]
    fn what_is_looked_at_again_is_not_counted_again() {
        let line = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(900));
        let text = format!("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n{line}");
        assert_eq!(read(text.as_bytes(), 1), (403, b"hello".to_vec(), true));
    }

    #[test]
    fn a_length_that_is_none_means_up_to_the_end() {
        for fields in [
            "Content-Length: +3\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: x\r\n",
            "Content-Length: \r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            let text = format!("HTTP/1.1 403 No\r\n{fields}\r\nhello");
            assert_eq!(read(text.as_bytes(), 2), (403, b"hello".to_vec(), false));
        }
        let broken = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n";
        assert_eq!(read(broken, 4), (403, b"ok".to_vec(), true));
    }
}
