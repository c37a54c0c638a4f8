//! Hosts: what `Host` says (RFC 9112 section 3.2), and which names a server answers to. A page whose name was made to
//! lead to us (DNS rebinding) has an origin that looks right to itself, and sends that name as its `Host`.

use std::net::Ipv6Addr;

use crate::url::is_host_byte;

/// The host that a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The name or address in lower case, IPv6 in brackets and in its shortest form; empty if the request names none.
    pub name: String,
    /// `None`: the usual one, which is not written.
    pub port: Option<u16>,
}

/// What is wrong with `host[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Port,
    NotAscii,
    Star,
    Name,
}

impl Fault {
    /// The text of the error; `form` is what the whole should look like.
    pub(super) fn text(self, form: &'static str) -> &'static str {
        match self {
            Fault::Port => "its port must be a number from 1 to 65535",
            Fault::NotAscii => "browsers send such a name in its ASCII form, xn--...",
            Fault::Star => "'*.' stands for what is below a host, and '*' for nothing else",
            Fault::Name => form,
        }
    }
}

impl Host {
    /// The value of a `Host` header, or what stands in that place of a URL. `None`: it is malformed.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        if text.is_empty() {
            return Some(Self::default());
        }
        Self::parse_with(text, true, |name| {
            let escapes = name.split('%').skip(1);
            let escaped = |rest: &str| {
                let digits = rest.as_bytes().get(..2);
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            };
            name.bytes().all(|byte| byte == b'%' || is_host_byte(byte))
                && escapes.into_iter().all(escaped)
        })
        .ok()
    }

    /// Parses what a program gives: `name[:port]`.
    pub(super) fn parse_entry(text: &str) -> Result<Self, Fault> {
        Self::parse_with(text, false, |name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        })
    }

    /// A colon without a port may stand in a header (RFC 3986 section 3.2.3).
    fn parse_with(
        text: &str,
        bare_colon: bool,
        is_name: impl Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        let (name, port) = match text.rfind(':') {
            // The zone of an IPv6 address stands inside of its brackets.
            Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
            _ => (text, None),
        };
        let port = port.filter(|digits| !(bare_colon && digits.is_empty()));
        let port = port.map(parse_port).transpose()?;
        if !name.is_ascii() {
            return Err(Fault::NotAscii);
        }
        if name.contains('*') && !is_name(name) {
            return Err(Fault::Star);
        }
        let name = match name.strip_prefix('[') {
            Some(rest) => {
                let address = rest.strip_suffix(']').and_then(|text| text.parse().ok());
                let address: Ipv6Addr = address.ok_or(Fault::Name)?;
                format!("[{address}]")
            }
            None if !name.is_empty() && is_name(name) => name.to_ascii_lowercase(),
            None => return Err(Fault::Name),
        };
        Ok(Self { name, port })
    }

    /// Whether both are the same where `usual` is the port that is not written.
    pub(crate) fn is(&self, other: &Host, usual: u16) -> bool {
        self.name == other.name && self.port.unwrap_or(usual) == other.port.unwrap_or(usual)
    }
}

fn parse_port(digits: &str) -> Result<u16, Fault> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Port);
    }
    let port = digits.parse().ok().filter(|port| *port > 0);
    port.ok_or(Fault::Port)
}

/// One host, or all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    host: Host,
    below: bool,
}

impl Pattern {
    /// `name[:port]` or `*.name[:port]`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (below, text) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = Host::parse_entry(text)?;
        Ok(Self { host, below })
    }

    /// `None`: it was given without.
    pub(super) fn port(&self) -> Option<u16> {
        self.host.port
    }

    /// Whether it names this host, whatever the port.
    pub(super) fn names(&self, name: &str) -> bool {
        if !self.below {
            return name == self.host.name;
        }
        let label = name
            .strip_suffix(&self.host.name[..])
            .and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty())
    }
}

/// The hosts that a server answers to. Without an entry it answers to none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Pattern>);

/// An entry of a list that is not what the list is of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no {kind} ({why})", .entry.escape_debug())]
pub struct EntryError {
    kind: &'static str,
    entry: String,
    why: &'static str,
}

/// Parses a list of what is called `kind`; the first entry that is none is the error.
pub(super) fn parse_list<T>(
    kind: &'static str,
    entries: &[String],
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, EntryError> {
    let parse = |entry: &String| {
        parse(entry).map_err(|why| EntryError {
            kind,
            entry: entry.clone(),
            why,
        })
    };
    entries.iter().map(parse).collect()
}

impl Hosts {
    /// From entries of the form `example.com`, `example.com:8080`, `[::1]`, `*.example.com`. One without a port is for
    /// every port.
    ///
    /// # Errors
    /// The first that has no such form.
    pub fn parse(entries: &[String]) -> Result<Self, EntryError> {
        parse_list("host", entries, parse_entry).map(Hosts)
    }

    /// Whether a request for this host is answered; `None`: it names none. Nobody knows whether a `Host` without a
    /// port came by way of TLS, which a proxy may have taken off: it stands for both usual ports.
    pub fn allow(&self, host: Option<&Host>) -> bool {
        let Some(host) = host else {
            return false;
        };
        self.0.iter().any(|entry| {
            let port_matches = match (entry.port(), host.port) {
                (None, _) => true,
                (Some(port), None) => matches!(port, 80 | 443),
                (Some(port), Some(asked)) => port == asked,
            };
            port_matches && entry.names(&host.name)
        })
    }
}

fn parse_entry(text: &str) -> Result<Pattern, &'static str> {
    const FORM: &str = "a host is name[:port], and the name one of DNS, an address or *.name";
    if text.contains("://") {
        return Err("a host has no scheme: name and port are all of it");
    }
    Pattern::parse(text).map_err(|fault| fault.text(FORM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_header_may_say() {
        for (value, name, port) in [
            ("", "", None),
            ("h", "h", None),
            ("Example.COM", "example.com", None),
            ("example.com.", "example.com.", None),
            ("under_score-9:", "under_score-9", None),
            ("h:1", "h", Some(1)),
            ("h:00080", "h", Some(80)),
            ("h:65535", "h", Some(65535)),
            ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
            ("[::1]", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("[0:0::0001]:443", "[::1]", Some(443)),
            ("[::FFFF:1.2.3.4]", "[::ffff:1.2.3.4]", None),
            ("a%2Db~!$&'()*+;=", "a%2db~!$&'()*+;=", None),
        ] {
            let expected = Host {
                name: name.to_owned(),
                port,
            };
            assert_eq!(Host::parse(value.as_bytes()), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_no_host_header_may_say() {
        for value in [
            "a b",
            "a, b",
            "a,b",
            " ",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "u:p@a",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[g::1]",
            "[::1%25eth0]",
            "[::1]:x",
            "a]",
            "a[b]",
            "a:b:c",
            "a:80:",
            "a::",
            ":",
            ":80",
            "h:99999",
            "h:0",
            "h:-1",
            "h:+1",
            "h:8 0",
            "a%",
            "a%2",
            "a%2g",
            "a\\b",
            "a\"b",
            "<a>",
            "a\tb",
            "http://a",
            "\u{e9}.com",
            "a^b",
            "a|b",
            "{a}",
        ] {
            assert_eq!(Host::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Host::parse(b"\xE9.com"), None);
    }

    #[test]
    fn which_hosts_are_answered_to() {
        let allows = |entry: &str, host: &str| {
            let hosts = Hosts::parse(&["other.org".to_owned(), entry.to_owned()]).unwrap();
            hosts.allow(Host::parse(host.as_bytes()).as_ref())
        };
        for (entry, host) in [
            ("example.com", "example.com"),
            ("example.com", "EXAMPLE.com:8080"),
            ("Example.com:8080", "example.com:8080"),
            ("example.com:80", "example.com"),
            ("example.com:443", "example.com"),
            ("127.0.0.1", "127.0.0.1:9"),
            ("[::1]", "[0:0::1]:9"),
            ("[0::1]:80", "[::1]"),
            ("*.example.com", "a.example.com"),
            ("*.example.com", "a.b.example.com:8080"),
            ("*.example.com:8080", "a.example.com:8080"),
        ] {
            assert!(allows(entry, host), "{entry} does not allow {host}");
        }
        for (entry, host) in [
            ("example.com", ""),
            ("example.com", "www.example.com"),
            ("example.com", "example.com.evil.org"),
            ("example.com", "evilexample.com"),
            ("example.com", "example.com."),
            ("example.com:8080", "example.com"),
            ("example.com:8080", "example.com:80"),
            ("example.com:80", "example.com:443"),
            ("*.example.com", "example.com"),
            ("*.example.com", ".example.com"),
            ("*.example.com", "evilexample.com"),
            ("*.example.com", "a.example.com.evil.org"),
            ("*.example.com:80", "a.example.com:81"),
            ("[::1]", "[::2]"),
            ("localhost", "127.0.0.1"),
        ] {
            assert!(!allows(entry, host), "{entry} allows {host}");
        }
        assert!(!allows("example.com", "a b"));
        let none = Hosts::default();
        assert!(!none.allow(Host::parse(b"h").as_ref()) && !none.allow(None));
    }

    #[test]
    fn entries_that_are_none_are_refused() {
        for (entry, why) in [
            ("", "name[:port]"),
            ("*", "stands for"),
            ("*.", "name[:port]"),
            ("*.*.com", "stands for"),
            ("*example.com", "stands for"),
            ("https://example.com", "no scheme"),
            ("example.com/", "name[:port]"),
            ("user@example.com", "name[:port]"),
            ("a, b", "name[:port]"),
            ("example.com:", "port"),
            ("example.com:0", "port"),
            ("example.com:65536", "port"),
            ("example.com:*", "port"),
            ("::1", "name[:port]"),
            ("[::1", "name[:port]"),
            ("[abc]", "name[:port]"),
            ("\u{e9}.com", "xn--"),
        ] {
            let text = Hosts::parse(&["h".to_owned(), entry.to_owned()])
                .unwrap_err()
                .to_string();
            assert!(
                text.starts_with(&format!("'{}' is no host (", entry.escape_debug())),
                "{text}"
            );
            assert!(text.contains(why), "{text}");
        }
    }
}
