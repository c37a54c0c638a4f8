//! Which pages may open a WebSocket here (RFC 6455 section 10.2). Browsers say in `Origin` where a page comes from; an
//! origin is a scheme, a host and a port (RFC 6454).

/// What a server allows. Without an entry nothing is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// `null`: a page without an origin of its own, out of a file for one.
    Null,
    Site {
        /// `None`: any.
        scheme: Option<String>,
        host: String,
        /// Whether it is the hosts below this one that are meant.
        below: bool,
        /// `None`: the one that belongs to the scheme.
        port: Option<u16>,
    },
}

/// An entry that names no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no origin ({why})", .entry.escape_debug())]
pub struct OriginError {
    entry: String,
    why: &'static str,
}

/// Scheme, host and port, in lower case.
struct Parts {
    scheme: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Origins {
    /// From entries of the form `https://example.com`, `https://example.com:8443`, `*.example.com`, with or without
    /// scheme and port, or `null`.
    ///
    /// # Errors
    /// The first that has no such form.
    pub fn parse(entries: &[String]) -> Result<Self, OriginError> {
        let entries = entries.iter().map(|text| {
            parse_entry(text).map_err(|why| OriginError {
                entry: text.clone(),
                why,
            })
        });
        entries.collect::<Result<_, _>>().map(Origins)
    }

    /// Whether the value of an `Origin` header is among them.
    pub fn allow(&self, origin: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(origin) else {
            return false;
        };
        if text == "null" {
            return self.0.contains(&Entry::Null);
        }
        match parse(text) {
            Ok(Parts {
                scheme: Some(scheme),
                host,
                port,
            }) => self
                .0
                .iter()
                .any(|entry| entry.matches(&scheme, &host, port)),
            _ => false,
        }
    }
}

impl Entry {
    fn matches(&self, from: &str, at: &str, through: Option<u16>) -> bool {
        let Entry::Site {
            scheme,
            host,
            below,
            port,
        } = self
        else {
            return false;
        };
        let host_matches = if *below {
            at.strip_suffix(&host[..])
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|name| !name.is_empty())
        } else {
            at == host
        };
        let usual = usual_port(from);
        host_matches
            && scheme.as_ref().is_none_or(|scheme| scheme == from)
            && through.or(usual) == port.or(usual)
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn parse_entry(text: &str) -> Result<Entry, &'static str> {
    if text == "null" {
        return Ok(Entry::Null);
    }
    let (below, text) = match text.split_once("*.") {
        Some((before, after)) if before.is_empty() || before.ends_with("://") => {
            (true, format!("{before}{after}"))
        }
        _ => (false, text.to_owned()),
    };
    let Parts { scheme, host, port } = parse(&text)?;
    Ok(Entry::Site {
        scheme,
        host,
        below,
        port,
    })
}

/// `[scheme://]host[:port]`
fn parse(text: &str) -> Result<Parts, &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme.to_ascii_lowercase()), rest),
        Some(_) => return Err("its scheme is malformed"),
        None => (None, text),
    };
    if rest.contains(['/', '?', '#']) {
        return Err("an origin has no path: scheme, host and port are all of it");
    }
    if rest.contains('@') {
        return Err("an origin has no user name");
    }
    let (host, port) = match rest.rfind(':') {
        // That of an IPv6 address stands inside of its brackets.
        Some(at) if !rest[at..].contains(']') => (&rest[..at], Some(&rest[at + 1..])),
        _ => (rest, None),
    };
    let port = match port.map(|digits| {
        (
            digits.bytes().all(|byte| byte.is_ascii_digit()),
            digits.parse(),
        )
    }) {
        None => None,
        Some((true, Ok(port))) if port > 0 => Some(port),
        Some(_) => return Err("its port must be a number from 1 to 65535"),
    };
    check_host(host)?;
    Ok(Parts {
        scheme,
        host: host.to_ascii_lowercase(),
        port,
    })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if !host.is_ascii() {
        return Err("browsers send such a name in its ASCII form, xn--...");
    }
    if host.contains('*') {
        return Err("'*.' stands for what is below a host, and '*' for nothing else");
    }
    let name = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').unwrap_or(""),
        None => host,
    };
    let is_address = host.starts_with('[');
    let known = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (byte == b':' && is_address)
    };
    if name.is_empty() || !name.bytes().all(known) {
        return Err(
            "an origin is [scheme://]host[:port], and the host a name, an address or *.name",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, origin: &str) -> bool {
        Origins::parse(&[entry.to_owned()])
            .unwrap()
            .allow(origin.as_bytes())
    }

    #[test]
    fn origins_that_are_the_same() {
        for (entry, origin) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com", "https://example.com:443"),
            ("https://example.com:443", "https://example.com"),
            ("HTTPS://Example.COM", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:8080", "http://example.com:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("app://host", "app://host"),
            ("example.com", "https://example.com"),
            ("example.com", "http://example.com"),
            ("example.com:8080", "http://example.com:8080"),
            ("*.example.com", "https://a.example.com"),
            ("*.example.com", "http://a.b.example.com"),
            ("*.example.com:8080", "http://a.example.com:8080"),
            ("https://*.example.com", "https://a.example.com"),
            ("null", "null"),
        ] {
            assert!(allows(entry, origin), "{entry} does not allow {origin}");
        }
    }

    #[test]
    fn origins_that_only_look_alike() {
        for (entry, origin) in [
            ("https://example.com", "http://example.com"),
            ("https://example.com", "https://example.com:8443"),
            ("https://example.com:8443", "https://example.com"),
            ("https://example.com", "https://www.example.com"),
            ("https://example.com", "https://example.com.evil.org"),
            ("https://example.com", "https://evilexample.com"),
            ("https://example.com", "https://example.com/"),
            ("https://example.com", "https://example.com@evil.org"),
            ("https://example.com", "example.com"),
            (
                "https://example.com",
                "https://example.com, https://evil.org",
            ),
            ("https://example.com", "null"),
            ("https://example.com", ""),
            ("example.com", "https://example.com:8443"),
            ("*.example.com", "https://example.com"),
            ("*.example.com", "https://.example.com"),
            ("*.example.com", "https://evilexample.com"),
            ("*.example.com", "https://example.com.evil.org"),
            ("*.example.com", "https://a.example.com:8443"),
            ("https://*.example.com", "http://a.example.com"),
            ("*.example.com", "https://*.example.com"),
            ("null", "NULL"),
            ("null", "https://null"),
        ] {
            assert!(!allows(entry, origin), "{entry} allows {origin}");
        }
        assert!(!Origins::default().allow(b"https://example.com"));
        assert!(!allows("*.example.com", "https://\u{e9}.example.com"));
    }

    #[test]
    fn entries_that_are_none_are_refused() {
        for (entry, why) in [
            ("", "[scheme://]host"),
            ("*", "stands for"),
            ("https://*", "stands for"),
            ("https://*example.com", "stands for"),
            ("https://www.*.com", "stands for"),
            ("*.*.com", "stands for"),
            ("https://", "[scheme://]host"),
            ("https://example.com/", "no path"),
            ("https://example.com/chat", "no path"),
            ("example.com?x", "no path"),
            ("https://user@example.com", "no user name"),
            ("https://example.com:", "port"),
            ("https://example.com:0", "port"),
            ("https://example.com:+1", "port"),
            ("https://example.com:65536", "port"),
            ("https://example.com:x", "port"),
            ("://example.com", "scheme"),
            ("1s://example.com", "scheme"),
            ("https://ex ample.com", "[scheme://]host"),
            ("https://[::1", "[scheme://]host"),
            ("https://\u{e9}.com", "xn--"),
        ] {
            let text = Origins::parse(&["null".to_owned(), entry.to_owned()])
                .unwrap_err()
                .to_string();
            assert!(
                text.starts_with(&format!("'{}' is no origin (", entry.escape_debug())),
                "{text}"
            );
            assert!(text.contains(why), "{text}");
        }
    }
}
