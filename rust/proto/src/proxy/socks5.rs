//! SOCKS 5 (RFC 1928), with user name and password (RFC 1929): what we say, and what the answers mean. Refusals are
//! in words that want "proxy ..." before them.

use std::net::{IpAddr, SocketAddr};

use super::Credentials;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xFF;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Where the proxy is to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocksTarget {
    /// An address.
    Address(SocketAddr),
    /// A name that the proxy looks up, and a port.
    Name(String, u16),
}

/// The first message: the ways we can say who we are (RFC 1928 section 3).
pub fn encode_greeting(with_password: bool) -> Vec<u8> {
    if with_password {
        vec![VERSION, 2, NO_AUTHENTICATION, PASSWORD]
    } else {
        vec![VERSION, 1, NO_AUTHENTICATION]
    }
}

/// Reads the answer to the greeting; whether user name and password are wanted now.
///
/// # Errors
/// Not SOCKS 5, or a way that we did not offer.
pub fn parse_method(answer: [u8; 2], with_password: bool) -> Result<bool, String> {
    match answer {
        [VERSION, NO_AUTHENTICATION] => Ok(false),
        [VERSION, PASSWORD] if with_password => Ok(true),
        [VERSION, NOTHING_ACCEPTABLE] if with_password => {
            Err("refused: it accepts no user name and password (SOCKS5 method 255)".into())
        }
        [VERSION, NOTHING_ACCEPTABLE] => {
            Err("refused: it wants a user name and password (SOCKS5 method 255)".into())
        }
        [VERSION, method] => Err(format!(
            "chose SOCKS5 method {method}, which was not offered"
        )),
        [version, _] => Err(not_socks5(version)),
    }
}

/// User name and password (RFC 1929 section 2), which [`Proxy::parse`](super::Proxy::parse) has found short enough.
pub fn encode_password(credentials: &Credentials) -> Vec<u8> {
    let mut message = vec![PASSWORD_VERSION];
    for part in [&credentials.user, &credentials.password] {
        message.push(part.len() as u8);
        message.extend_from_slice(part);
    }
    message
}

/// Reads the proxy's answer to the user's name and password.
///
/// # Errors
/// The user's name and password were not accepted.
pub fn parse_password_status(answer: [u8; 2]) -> Result<(), String> {
    match answer {
        [PASSWORD_VERSION, 0] => Ok(()),
        [PASSWORD_VERSION, status] => Err(format!(
            "refused the user name or password (SOCKS5 status {status})"
        )),
        [version, _] => Err(format!(
            "answered in version {version} of SOCKS5 authentication, not 1"
        )),
    }
}

/// The request for a connection (RFC 1928 section 4).
///
/// # Errors
/// A name of more than 255 bytes.
pub fn encode_request(target: &SocksTarget) -> Result<Vec<u8>, String> {
    let mut message = vec![VERSION, CONNECT, 0];
    let port = match target {
        SocksTarget::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    message.push(IPV4);
                    message.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    message.push(IPV6);
                    message.extend_from_slice(&ip.octets());
                }
            }
            address.port()
        }
        SocksTarget::Name(name, port) => {
            let length = u8::try_from(name.len())
                .map_err(|_| "cannot be asked for a name of more than 255 bytes".to_owned())?;
            message.push(NAME);
            message.push(length);
            message.extend_from_slice(name.as_bytes());
            *port
        }
    };
    message.extend_from_slice(&port.to_be_bytes());
    Ok(message)
}

/// Reads the first five bytes of the reply (RFC 1928 section 6); how many more belong to it.
///
/// # Errors
/// The refusal in words.
pub fn parse_reply(head: [u8; 5]) -> Result<usize, String> {
    let [version, reply, _, kind, first] = head;
    if version != VERSION {
        return Err(not_socks5(version));
    }
    if reply != 0 {
        return Err(format!(
            "refused: {} (SOCKS5 reply {reply})",
            reply_text(reply)
        ));
    }
    // Address and port, less the byte that was read already.
    match kind {
        IPV4 => Ok(4 + 2 - 1),
        IPV6 => Ok(16 + 2 - 1),
        NAME => Ok(usize::from(first) + 2),
        _ => Err(format!(
            "sent a SOCKS5 reply with an unknown address type {kind}"
        )),
    }
}

fn not_socks5(version: u8) -> String {
    format!("does not speak SOCKS5 (its answer begins with byte {version})")
}

fn reply_text(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        assert_eq!(encode_greeting(false), [5, 1, 0]);
        assert_eq!(encode_greeting(true), [5, 2, 0, 2]);
        assert_eq!(parse_method([5, 0], false), Ok(false));
        assert_eq!(parse_method([5, 2], true), Ok(true));
        for (answer, with_password, text) in [
            ([5, 255], false, "wants a user name"),
            ([5, 255], true, "accepts no user name"),
            ([5, 2], false, "method 2, which was not offered"),
            ([5, 1], true, "method 1, which was not offered"),
            (
                [b'H', b'T'],
                true,
                "does not speak SOCKS5 (its answer begins with byte 72)",
            ),
        ] {
            let error = parse_method(answer, with_password).unwrap_err();
            assert!(error.contains(text), "{answer:?}: {error}");
        }
    }

    #[test]
    fn passwords() {
        let credentials = Credentials {
            user: b"me".to_vec(),
            password: b"pw!".to_vec(),
        };
        assert_eq!(encode_password(&credentials), b"\x01\x02me\x03pw!");
        assert_eq!(parse_password_status([1, 0]), Ok(()));
        assert!(parse_password_status([1, 1])
            .unwrap_err()
            .contains("refused the user name or password"));
        assert!(parse_password_status([5, 0])
            .unwrap_err()
            .contains("version 5"));
    }

    #[test]
    fn requests() {
        let to = |target: SocksTarget| encode_request(&target);
        let v4 = SocksTarget::Address("1.2.3.4:258".parse().unwrap());
        assert_eq!(to(v4).unwrap(), [5, 1, 0, 1, 1, 2, 3, 4, 1, 2]);
        let v6 = to(SocksTarget::Address("[::1]:80".parse().unwrap())).unwrap();
        assert_eq!((v6.len(), v6[3], v6[19]), (4 + 16 + 2, 4, 1));
        assert_eq!(
            to(SocksTarget::Name("h.x".into(), 80)).unwrap(),
            b"\x05\x01\x00\x03\x03h.x\x00\x50"
        );
        assert!(to(SocksTarget::Name("x".repeat(255), 80)).is_ok());
        assert!(to(SocksTarget::Name("x".repeat(256), 80)).is_err());
    }

    #[test]
    fn replies() {
        assert_eq!(parse_reply([5, 0, 0, 1, 9]), Ok(5));
        assert_eq!(parse_reply([5, 0, 0, 4, 9]), Ok(17));
        assert_eq!(parse_reply([5, 0, 0, 3, 9]), Ok(11));
        for (reply, text) in [
            (1, "general failure"),
            (2, "not allowed"),
            (3, "network unreachable"),
            (6, "time to live expired"),
            (7, "command not supported"),
            (8, "address type not supported"),
            (4, "host unreachable"),
            (5, "connection refused"),
            (99, "unknown reason (SOCKS5 reply 99)"),
        ] {
            let error = parse_reply([5, reply, 0, 1, 0]).unwrap_err();
            assert!(error.contains(text), "{reply}: {error}");
        }
        assert!(parse_reply([4, 0, 0, 1, 0]).is_err());
        assert!(parse_reply([5, 0, 0, 2, 0]).is_err());
    }
}
