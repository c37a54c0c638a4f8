//! The proxies that are believed.

use std::net::IpAddr;

use super::{ip, Peer};

/// Addresses, networks, and whether whoever comes by a Unix socket is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    networks: Vec<Network>,
    unix: bool,
}

/// Addresses whose first bits are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    is_v4: bool,
    bits: u128,
    mask: u128,
}

/// An entry that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedError {
    /// Neither an address nor a network.
    #[error("'{}' is no address, no network and not 'unix'", .0.escape_debug())]
    Malformed(String),
    /// A network whose address has bits beyond its prefix: one of the two is a mistake.
    #[error("'{}' has bits beyond its prefix", .0.escape_debug())]
    Bits(String),
}

/// The bits of an address, and how many there are; those of an IPv4 address that is written as IPv6 without what makes it one.
fn bits(address: IpAddr) -> (u128, u32) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

impl Network {
    fn parse(text: &str) -> Result<Network, TrustedError> {
        let malformed = || TrustedError::Malformed(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = ip(address).ok_or_else(malformed)?;
        let written = if address.is_ipv4() { 32 } else { 128 };
        let (bits, width) = bits(address);
        let length = match prefix {
            // As strict as a port.
            Some(prefix) => super::port(prefix)
                .map(u32::from)
                .filter(|length| *length <= written && !prefix.is_empty())
                .ok_or_else(malformed)?,
            None => written,
        };
        // The prefix counts the bits of what was written, those that make it an IPv4 address too.
        let length = length
            .checked_sub(written - width)
            .ok_or_else(|| TrustedError::Bits(text.to_owned()))?;
        let all = u128::MAX >> (128 - width);
        let mask = all & !all.checked_shr(length).unwrap_or(0);
        if bits & !mask != 0 {
            return Err(TrustedError::Bits(text.to_owned()));
        }
        Ok(Network {
            is_v4: width == 32,
            bits,
            mask,
        })
    }
}

impl Trusted {
    /// Entries like `127.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`, and `unix`.
    ///
    /// # Errors
    /// [`TrustedError`]
    pub fn parse(entries: &[String]) -> Result<Trusted, TrustedError> {
        let mut trusted = Trusted::default();
        for entry in entries {
            match &entry[..] {
                "unix" => trusted.unix = true,
                text => trusted.networks.push(Network::parse(text)?),
            }
        }
        Ok(trusted)
    }

    /// Whether a peer is one of them.
    pub fn has(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.unix,
            Peer::Unknown => false,
            Peer::Address(address) => {
                let (bits, width) = bits(address.ip());
                self.networks.iter().any(|network| {
                    network.is_v4 == (width == 32) && bits & network.mask == network.bits
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(entries: &[&str]) -> Result<Trusted, TrustedError> {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        Trusted::parse(&entries)
    }

    #[test]
    fn who_is_trusted() {
        let all = [
            "127.0.0.1",
            "10.0.0.0/8",
            "192.168.4.0/23",
            "2001:db8::/33",
            "::1",
            "::ffff:172.16.0.0/108",
        ];
        let some = trusted(&all).unwrap();
        for (text, is_one) in [
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.168.5.255", true),
            ("192.168.6.0", false),
            ("::ffff:10.1.2.3", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::", false),
            ("::1", true),
            ("::a00:1", false),
        ] {
            let peer = Peer::Address((text.parse::<IpAddr>().unwrap(), 1).into());
            assert_eq!(some.has(peer), is_one, "{text}");
        }
        assert!(!some.has(Peer::Unix) && !some.has(Peer::Unknown));
        assert!(trusted(&["unix"]).unwrap().has(Peer::Unix));
        for every in ["0.0.0.0/0", "::ffff:0:0/96"] {
            let every = trusted(&[every, "::/0"]).unwrap();
            assert!(every.has(Peer::Address(([1, 2, 3, 4], 1).into())));
        }
        let every = trusted(&["::/0"]).unwrap();
        assert!(every.has(Peer::Address(([1, 2, 3, 4, 5, 6, 7, 8], 1).into())));
    }

    #[test]
    fn what_is_no_entry() {
        for text in [
            "",
            "Unix",
            "localhost",
            "010.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0",
            "::1%lo",
            "[::1]",
            "::/129",
            "10.0.0.0/-1",
            " 10.0.0.1",
            "1.2.3.4:80",
            "*",
        ] {
            assert_eq!(
                trusted(&[text]),
                Err(TrustedError::Malformed(text.to_owned())),
                "{text}"
            );
        }
        for text in [
            "10.0.0.1/8",
            "1.0.0.0/0",
            "2001:db8::1/64",
            "::ffff:10.0.0.0/8",
            "::ffff:10.0.0.0/100",
        ] {
            assert_eq!(
                trusted(&[text]),
                Err(TrustedError::Bits(text.to_owned())),
                "{text}"
            );
        }
    }
}
