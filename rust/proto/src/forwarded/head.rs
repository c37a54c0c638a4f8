//! The head that a proxy sends before everything else (the PROXY protocol, versions 1 and 2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ip, port, Peer};

/// The bytes that a head of version 2 begins with. No other protocol does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The beginning of a head of version 1.
const WORD: &[u8; 6] = b"PROXY ";
/// The longest head of version 1, with its CR LF.
const MAX_LINE: usize = 107;
/// The longest head that is accepted: room for what proxies add about TLS, a certificate's name for one.
pub const MAX_HEAD: usize = 16 + 4096;

/// A head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHead {
    /// The proxy passes on this client.
    Client(Peer),
    /// The proxy itself has connected, to see whether we are there, or does not know more than that: the client is who the
    /// socket says.
    Local,
    /// What came is no such head.
    Absent,
}

/// A head that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line of version 1 that is none.
    #[error("the line is malformed")]
    Line,
    /// A version of the binary form that is not 2.
    #[error("the version is unknown")]
    Version,
    /// Neither LOCAL nor PROXY.
    #[error("the command is unknown")]
    Command,
    /// A family, or a kind of socket, that a connection like this cannot have.
    #[error("the address family is none of a stream")]
    Family,
    /// Fewer bytes than the family's addresses have.
    #[error("the length does not fit the addresses")]
    Length,
    /// The lengths of what follows the addresses do not add up.
    #[error("what follows the addresses is malformed")]
    Tlv,
    /// More than [`MAX_HEAD`] bytes.
    #[error("the head is too long")]
    TooLong,
}

/// Reads a head from the front of `buf`: its bytes, and what it says. `None`: it is not complete.
///
/// # Errors
/// [`HeadError`]: it began as one, and is none.
pub fn parse_head(buf: &[u8]) -> Result<Option<(usize, ProxyHead)>, HeadError> {
    let begins = |with: &[u8]| {
        let common = buf.len().min(with.len());
        (buf[..common] == with[..common]).then_some(common == with.len())
    };
    match (begins(SIGNATURE), begins(WORD)) {
        (Some(true), _) => binary(buf),
        (_, Some(true)) => line(buf),
        (None, None) => Ok(Some((0, ProxyHead::Absent))),
        _ => Ok(None),
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 40000 443`.
fn line(buf: &[u8]) -> Result<Option<(usize, ProxyHead)>, HeadError> {
    let Some(end) = buf.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
        return match buf.len() < MAX_LINE {
            true => Ok(None),
            false => Err(HeadError::Line),
        };
    };
    let line = buf[..end].strip_suffix(b"\r").ok_or(HeadError::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| HeadError::Line)?;
    let words: Vec<&str> = line.split(' ').collect();
    let head = match words[..] {
        // Whatever follows is to be ignored.
        [_, "UNKNOWN", ..] => ProxyHead::Local,
        [_, family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |text: &str| ip(text).filter(|ip| ip.is_ipv4() == (family == "TCP4"));
            match (address(from), address(to), port(from_port), port(to_port)) {
                (Some(from), Some(_), Some(from_port), Some(_)) => {
                    ProxyHead::Client(Peer::Address((from, from_port).into()))
                }
                _ => return Err(HeadError::Line),
            }
        }
        _ => return Err(HeadError::Line),
    };
    Ok(Some((end + 1, head)))
}

/// Version 2: the signature, version and command, family, the length of the rest; the addresses, and more.
fn binary(buf: &[u8]) -> Result<Option<(usize, ProxyHead)>, HeadError> {
    const INET: u8 = 1;
    const INET6: u8 = 2;
    const UNIX: u8 = 3;
    const STREAM: u8 = 1;
    let [command, family, high, low, rest @ ..] = &buf[SIGNATURE.len()..] else {
        return Ok(None);
    };
    if command >> 4 != 2 {
        return Err(HeadError::Version);
    }
    let is_local = match command & 0xF {
        0 => true,
        1 => false,
        _ => return Err(HeadError::Command),
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let whole = SIGNATURE.len() + 4 + length;
    if whole > MAX_HEAD {
        return Err(HeadError::TooLong);
    }
    let addresses = match (family >> 4, family & 0xF) {
        (0, 0) => 0,
        (INET, STREAM) => 12,
        (INET6, STREAM) => 36,
        (UNIX, STREAM) => 216,
        // The proxy's own connection: the family is not to be looked at.
        _ if is_local => 0,
        _ => return Err(HeadError::Family),
    };
    if length < addresses && !is_local {
        return Err(HeadError::Length);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(None);
    };
    if is_local {
        return Ok(Some((whole, ProxyHead::Local)));
    }
    let (addresses, more) = rest.split_at(addresses);
    check_tlvs(more)?;
    let head = match (family >> 4, addresses) {
        (INET, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            client(Ipv4Addr::new(*a, *b, *c, *d).into(), *high, *low)
        }
        (INET6, _) => match (<[u8; 16]>::try_from(&addresses[..16]), &addresses[32..]) {
            (Ok(octets), [high, low, ..]) => client(Ipv6Addr::from(octets).into(), *high, *low),
            _ => return Err(HeadError::Length),
        },
        (UNIX, _) => ProxyHead::Client(Peer::Unix),
        _ => ProxyHead::Local,
    };
    Ok(Some((whole, head)))
}

fn client(address: IpAddr, high: u8, low: u8) -> ProxyHead {
    let port = u16::from_be_bytes([high, low]);
    ProxyHead::Client(Peer::Address((address, port).into()))
}

/// Type, length, value, and so on to the end. No type is of use here.
fn check_tlvs(mut rest: &[u8]) -> Result<(), HeadError> {
    while !rest.is_empty() {
        let [_, high, low, values @ ..] = rest else {
            return Err(HeadError::Tlv);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = values.get(length..).ok_or(HeadError::Tlv)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Result<(usize, ProxyHead), HeadError> {
        Ok(parse_head(bytes)?.expect("a whole head"))
    }

    fn address(text: &str) -> ProxyHead {
        ProxyHead::Client(Peer::Address(text.parse().unwrap()))
    }

    /// A head of version 2.
    fn head(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x9C, 0x40, 1, 0xBB];

    /// Every beginning of it is incomplete, and what follows is left.
    fn assert_head(bytes: &[u8], expected: ProxyHead) {
        for cut in 0..bytes.len() {
            assert_eq!(parse_head(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
        }
        let more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(found(&more), Ok((bytes.len(), expected)), "{bytes:?}");
    }

    #[test]
    fn lines() {
        assert_head(
            b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n",
            address("192.0.2.1:40000"),
        );
        assert_head(
            b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n",
            address("[2001:db8::1]:1"),
        );
        assert_head(b"PROXY UNKNOWN\r\n", ProxyHead::Local);
        assert_head(
            b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            ProxyHead::Local,
        );
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE - 16));
        assert_eq!(longest.len(), MAX_LINE);
        assert_head(longest.as_bytes(), ProxyHead::Local);
    }

    #[test]
    fn lines_that_are_none() {
        for text in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 40000\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 40000 443 \r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 40000 443\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\n",
            "PROXY TCP4 010.0.0.1 192.0.2.2 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2 40000 443\r\n",
            "PROXY TCP4 ::1 ::1 40000 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 40000 443\r\n",
            "PROXY TCP6 ::1%lo ::1 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 040 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +40 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 40 \r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 40 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 40 443\r\n",
            "PROXY TCP4 192.0.2.1\t192.0.2.2 40 443\r\n",
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE - 15)),
            &"PROXY ".repeat(100),
        ] {
            assert_eq!(parse_head(text.as_bytes()), Err(HeadError::Line), "{text}");
        }
        assert_eq!(parse_head(b"PROXY TCP4 \xFF\r\n"), Err(HeadError::Line));
    }

    #[test]
    fn binary_heads() {
        assert_head(&head(0x21, 0x11, &V4), address("192.0.2.1:40000"));
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xD, 0xB8]);
        v6[15] = 1;
        v6[32..34].copy_from_slice(&[0, 80]);
        assert_head(&head(0x21, 0x21, &v6), address("[2001:db8::1]:80"));
        assert_head(
            &head(0x21, 0x31, &[b'/'; 216]),
            ProxyHead::Client(Peer::Unix),
        );
        // Nothing is known, or the proxy asks for itself, whatever else it says.
        assert_head(&head(0x21, 0x00, b""), ProxyHead::Local);
        assert_head(&head(0x20, 0x00, b""), ProxyHead::Local);
        assert_head(&head(0x20, 0x11, &V4), ProxyHead::Local);
        assert_head(&head(0x20, 0xFF, b"whatever"), ProxyHead::Local);
    }

    #[test]
    fn what_follows_the_addresses_adds_up() {
        let with = |more: &[u8]| head(0x21, 0x11, &[&V4[..], more].concat());
        assert_head(&with(b"\x04\0\0"), address("192.0.2.1:40000"));
        assert_head(
            &with(b"\x02\0\x01h\x20\0\x05\x01\0\0\0\0\x04\0\x02\0\0"),
            address("192.0.2.1:40000"),
        );
        for more in [
            &b"\x04"[..],
            b"\x04\0",
            b"\x04\0\x01",
            b"\x02\0\x01h\x04\xFF\xFF",
        ] {
            assert_eq!(parse_head(&with(more)), Err(HeadError::Tlv), "{more:?}");
        }
        assert_eq!(
            parse_head(&head(0x21, 0x00, b"\x04\0\x09")),
            Err(HeadError::Tlv)
        );
    }

    #[test]
    fn binary_heads_that_are_none() {
        for (bytes, expected) in [
            (head(0x11, 0x11, &V4), HeadError::Version),
            (head(0x31, 0x11, &V4), HeadError::Version),
            (head(0x22, 0x11, &V4), HeadError::Command),
            (head(0x21, 0x12, &V4), HeadError::Family),
            (head(0x21, 0x01, &V4), HeadError::Family),
            (head(0x21, 0x41, &V4), HeadError::Family),
            (head(0x21, 0x11, &V4[..11]), HeadError::Length),
            (head(0x21, 0x21, &V4), HeadError::Length),
            (head(0x21, 0x31, &[0; 215]), HeadError::Length),
            (head(0x21, 0x00, &[0; 4097]), HeadError::TooLong),
        ] {
            assert_eq!(parse_head(&bytes), Err(expected), "{bytes:?}");
            // That is known before the rest has come.
            assert_eq!(parse_head(&bytes[..16]), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn the_limits_of_both_versions_are_exact() {
        let begun = [&WORD[..], &[b'x'; MAX_LINE]].concat();
        assert_eq!(parse_head(&begun[..MAX_LINE - 1]), Ok(None));
        // No further byte can make a line of it.
        assert_eq!(parse_head(&begun[..MAX_LINE]), Err(HeadError::Line));
        let longest = head(0x20, 0x00, &[0; MAX_HEAD - 16]);
        assert_eq!(found(&longest), Ok((MAX_HEAD, ProxyHead::Local)));
    }

    #[test]
    fn anything_else_is_no_head() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST",
            b"PROXYTCP4",
            b"\x16\x03\x01",
            b"\r\n\r\nG",
            b"\r\n\r\n\0\r\nQUIT\r",
        ] {
            assert_eq!(found(bytes), Ok((0, ProxyHead::Absent)), "{bytes:?}");
        }
        assert_eq!(parse_head(b""), Ok(None));
        assert_eq!(parse_head(b"P"), Ok(None));
    }
}
