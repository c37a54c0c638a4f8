//! Which pages may open a WebSocket here (RFC 6455 section 10.2). Browsers say in `Origin` where a page comes from; an
//! origin is a scheme, a host and a port (RFC 6454).

use super::host::{parse_list, EntryError, Host, Pattern};

/// The origins that a server allows. Without an entry none is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// `null`: a page without an origin of its own, out of a file for one.
    Null,
    /// `same`: a page of the host that the request is for.
    Same,
    Site {
        /// `None`: http or https.
        scheme: Option<String>,
        /// One without a port has the one that belongs to the scheme.
        host: Pattern,
    },
}

impl Origins {
    /// From entries of the form `https://example.com`, `https://example.com:8443`, `*.example.com`, with or without
    /// scheme and port, `null`, or `same`.
    ///
    /// # Errors
    /// The first that has no such form.
    pub fn parse(entries: &[String]) -> Result<Self, EntryError> {
        parse_list("origin", entries, parse_entry).map(Origins)
    }

    /// Whether the value of an `Origin` header is among them, in a request for `asked`.
    pub fn allow(&self, origin: &[u8], asked: &Host) -> bool {
        let Ok(text) = std::str::from_utf8(origin) else {
            return false;
        };
        if text == "null" {
            return self.0.contains(&Entry::Null);
        }
        let Ok((Some(scheme), rest)) = split_scheme(text) else {
            return false;
        };
        let Ok(page) = Host::parse_entry(rest) else {
            return false;
        };
        self.0
            .iter()
            .any(|entry| entry.matches(&scheme, &page, asked))
    }
}

impl Entry {
    fn matches(&self, from: &str, page: &Host, asked: &Host) -> bool {
        let usual = usual_port(from);
        match self {
            Entry::Null => false,
            Entry::Same => usual.is_some_and(|usual| page.is(asked, usual)),
            Entry::Site { scheme, host } => {
                // Pages of other schemes (an app's own, a script's) are no pages of that host.
                let scheme_matches = match scheme {
                    Some(scheme) => scheme == from,
                    None => usual.is_some(),
                };
                scheme_matches
                    && host.names(&page.name)
                    && page.port.or(usual) == host.port().or(usual)
            }
        }
    }
}

/// The default port of a scheme that pages on the web have.
fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// `[scheme://]host[:port]`, `[scheme://]*.host[:port]`
fn parse_entry(text: &str) -> Result<Entry, &'static str> {
    const FORM: &str =
        "an origin is [scheme://]host[:port], and the host a name, an address or *.name";
    match text {
        "null" => return Ok(Entry::Null),
        "same" => return Ok(Entry::Same),
        _ => {}
    }
    let (scheme, rest) = split_scheme(text)?;
    if rest.contains(['/', '?', '#']) {
        return Err("an origin has no path: scheme, host and port are all of it");
    }
    if rest.contains('@') {
        return Err("an origin has no user name");
    }
    let host = Pattern::parse(rest).map_err(|fault| fault.text(FORM))?;
    Ok(Entry::Site { scheme, host })
}

/// The scheme, in lower case, and what stands behind it.
fn split_scheme(text: &str) -> Result<(Option<String>, &str), &'static str> {
    match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => Ok((Some(scheme.to_ascii_lowercase()), rest)),
        Some(_) => Err("its scheme is malformed"),
        None => Ok((None, text)),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, origin: &str) -> bool {
        Origins::parse(&[entry.to_owned()])
            .unwrap()
            .allow(origin.as_bytes(), &Host::default())
    }

    fn allows_same(origin: &str, host: &str) -> bool {
        let host = Host::parse(host.as_bytes()).unwrap();
        let origins = Origins::parse(&["same".to_owned()]).unwrap();
        origins.allow(origin.as_bytes(), &host)
    }

    #[test]
    fn pages_of_the_host_that_is_asked() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("https://Example.com", "EXAMPLE.COM:443"),
            ("https://example.com:443", "example.com"),
            ("http://localhost:8080", "localhost:8080"),
            ("http://[::1]:8080", "[0::1]:8080"),
        ] {
            assert!(allows_same(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://example.com", "example.com:443"),
            ("https://example.com", "example.com:80"),
            ("https://example.com:8443", "example.com"),
            ("https://example.com", "example.com:8443"),
            ("https://example.com", "www.example.com"),
            ("https://www.example.com", "example.com"),
            ("https://example.com.evil.org", "example.com"),
            ("capacitor://localhost", "localhost"),
            ("javascript://example.com", "example.com"),
            ("example.com", "example.com"),
            ("null", "null"),
            ("same", "same"),
            ("https://", ""),
            ("", ""),
        ] {
            assert!(!allows_same(origin, host), "{origin} at {host}");
        }
        // A host of that name has a scheme.
        assert!(allows("http://same", "http://same") && !allows("same", "http://same"));
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
            ("http://[0:0::1]", "http://[::1]"),
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
            ("localhost", "capacitor://localhost"),
            ("localhost:80", "app://localhost:80"),
            ("*.example.com", "javascript://a.example.com"),
            ("example.com", "ws://example.com"),
            ("null", "NULL"),
            ("null", "https://null"),
        ] {
            assert!(!allows(entry, origin), "{entry} allows {origin}");
        }
        assert!(!Origins::default().allow(b"https://example.com", &Host::default()));
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
            ("https://[abc]", "[scheme://]host"),
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
