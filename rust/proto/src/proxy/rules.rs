//! Which proxy a URL goes through.
//!
//! The variables are those that curl reads, with its upper-case variants: all but `HTTP_PROXY`, which a CGI
//! program gets from a request's `Proxy` header.

use std::net::IpAddr;

use super::{address_of, parse_port, Proxy};
use crate::url::Url;

/// The values of the variables; `None`: it is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `https_proxy` or `HTTPS_PROXY`.
    pub https_proxy: Option<Vec<u8>>,
    /// `http_proxy`.
    pub http_proxy: Option<Vec<u8>>,
    /// `all_proxy` or `ALL_PROXY`.
    pub all_proxy: Option<Vec<u8>>,
    /// `no_proxy` or `NO_PROXY`.
    pub no_proxy: Option<Vec<u8>>,
}

/// Where a context's proxy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The program named it, or said that there is none. It holds for every host.
    Given(Option<Proxy>),
    /// The environment.
    Environment(Environment),
}

impl Default for Rules {
    fn default() -> Self {
        Rules::Given(None)
    }
}

impl Rules {
    /// The proxy for a URL, if it has one.
    ///
    /// # Errors
    /// The variable that is asked first holds no proxy; a complete message.
    pub fn choose(&self, url: &Url) -> Result<Option<Proxy>, String> {
        match self {
            Rules::Given(proxy) => Ok(proxy.clone()),
            Rules::Environment(environment) => environment.choose(url),
        }
    }
}

impl Environment {
    fn choose(&self, url: &Url) -> Result<Option<Proxy>, String> {
        let https = ("https_proxy", &self.https_proxy);
        let http = ("http_proxy", &self.http_proxy);
        let all = ("all_proxy", &self.all_proxy);
        let order = if url.secure {
            [https, http, all]
        } else {
            [http, https, all]
        };
        // One that is set to nothing ends the search: that is how a proxy is turned off.
        let Some((name, value)) = order
            .iter()
            .find_map(|(name, value)| Some((name, value.as_ref()?)))
        else {
            return Ok(None);
        };
        let no_proxy = self.no_proxy.as_deref().unwrap_or_default();
        if value.is_empty() || is_loopback(&url.host) || is_excepted(no_proxy, &url.host, url.port)
        {
            return Ok(None);
        }
        Proxy::parse(value, None)
            .map(Some)
            .map_err(|error| format!("environment variable {name}: {error}"))
    }
}

fn is_loopback(host: &str) -> bool {
    match address_of(host) {
        Some(ip) => ip.is_loopback(),
        None => is_within("localhost", host.trim_end_matches('.')),
    }
}

/// Whether `no_proxy`, a list with commas or blanks between its entries, names this host. An entry is `*`, a name,
/// which stands for whatever ends in it as well, an address, or a network (`10.0.0.0/8`, `fd00::/8`); with `:port`
/// behind it, it holds for that port only.
pub fn is_excepted(no_proxy: &[u8], host: &str, port: u16) -> bool {
    let list = String::from_utf8_lossy(no_proxy);
    list.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            let (pattern, only_port) = split_port(entry);
            only_port.is_none_or(|only| parse_port(only.as_bytes()) == Some(port))
                && covers(pattern, host)
        })
}

/// An entry without the port behind it, and that port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = entry
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
    {
        return (address, rest.strip_prefix(':'));
    }
    match entry.split_once(':') {
        Some((pattern, port)) if !port.contains(':') => (pattern, Some(port)),
        _ => (entry, None),
    }
}

fn covers(pattern: &str, host: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match address_of(host) {
        Some(ip) => match pattern.split_once('/') {
            Some((network, bits)) => address_of(network)
                .zip(parse_bits(bits))
                .is_some_and(|(network, bits)| is_in_network(ip, network, bits)),
            None => address_of(pattern) == Some(ip),
        },
        None => {
            let pattern = pattern.trim_end_matches('.');
            let suffix = pattern.strip_prefix('.').unwrap_or(pattern);
            is_within(suffix, host.trim_end_matches('.'))
        }
    }
}

/// Digits only: no sign.
fn parse_bits(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

/// Whether `name` is `suffix` or below it, in any case.
fn is_within(suffix: &str, name: &str) -> bool {
    if suffix.is_empty() || suffix.len() > name.len() {
        return false;
    }
    let (above, end) = name.as_bytes().split_at(name.len() - suffix.len());
    end.eq_ignore_ascii_case(suffix.as_bytes()) && (above.is_empty() || above.ends_with(b"."))
}

fn is_in_network(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            (u32::from(ip) ^ u32::from(network))
                .checked_shr(32 - bits)
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            (u128::from(ip) ^ u128::from(network))
                .checked_shr(128 - bits)
                .unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(environment: &Environment, url: &str) -> Option<String> {
        let url = Url::parse(url).unwrap();
        environment.choose(&url).unwrap().map(|proxy| proxy.host)
    }

    fn set(value: &str) -> Option<Vec<u8>> {
        Some(value.as_bytes().to_vec())
    }

    #[test]
    fn the_scheme_decides_which_variable_comes_first() {
        let mut environment = Environment {
            https_proxy: set("s"),
            http_proxy: set("p"),
            all_proxy: set("a"),
            no_proxy: None,
        };
        assert_eq!(chosen(&environment, "ws://h").as_deref(), Some("p"));
        assert_eq!(chosen(&environment, "wss://h").as_deref(), Some("s"));
        environment.http_proxy = None;
        assert_eq!(chosen(&environment, "ws://h").as_deref(), Some("s"));
        environment.https_proxy = None;
        assert_eq!(chosen(&environment, "ws://h").as_deref(), Some("a"));
        environment.http_proxy = set("");
        assert_eq!(chosen(&environment, "ws://h"), None);
        assert_eq!(chosen(&Environment::default(), "ws://h"), None);
    }

    #[test]
    fn loopback_is_never_proxied_by_the_environment() {
        let environment = Environment {
            all_proxy: set("a"),
            ..Environment::default()
        };
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST.",
            "x.localhost",
        ] {
            assert_eq!(
                chosen(&environment, &format!("ws://{host}/")),
                None,
                "{host}"
            );
        }
        for host in ["128.0.0.1", "[::2]", "notlocalhost", "localhost.example"] {
            assert!(
                chosen(&environment, &format!("ws://{host}/")).is_some(),
                "{host}"
            );
        }
        let given = Rules::Given(Some(Proxy::parse(b"p", None).unwrap()));
        assert!(given
            .choose(&Url::parse("ws://127.0.0.1/").unwrap())
            .unwrap()
            .is_some());
    }

    #[test]
    fn a_variable_that_holds_no_proxy_is_an_error_for_those_who_need_it() {
        let environment = Environment {
            http_proxy: set("me:secret@h:x"),
            ..Environment::default()
        };
        let error = environment
            .choose(&Url::parse("ws://example.org").unwrap())
            .unwrap_err();
        assert_eq!(
            error,
            "environment variable http_proxy: 'h:x' is not [scheme://][user:password@]host[:port]"
        );
        assert_eq!(chosen(&environment, "ws://localhost"), None);
    }

    #[test]
    fn exceptions() {
        for (list, host, port, expected) in [
            ("*", "h", 80, true),
            ("a, * ,b", "h", 80, true),
            ("example.org", "example.org", 80, true),
            ("EXAMPLE.org", "www.Example.ORG", 80, true),
            (".example.org", "example.org", 80, true),
            (".example.org", "www.example.org.", 80, true),
            ("example.org.", "example.org", 80, true),
            ("example.org", "notexample.org", 80, false),
            ("example.org", "example.org.evil", 80, false),
            ("org", "example.org", 80, true),
            ("", "h", 80, false),
            (" , ,", "h", 80, false),
            (".", "h", 80, false),
            ("a b\tc", "c", 80, true),
            ("h:8080", "h", 8080, true),
            ("h:8080", "h", 80, false),
            ("h:", "h", 80, false),
            ("h:x", "h", 80, false),
            // A sign was a digit.
            ("h:+80", "h", 80, false),
            ("10.0.0.0/+8", "10.1.2.3", 80, false),
            ("*:81", "h", 81, true),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("0.0.0.0/0", "1.2.3.4", 80, true),
            ("10.0.0.1/32", "10.0.0.1", 80, true),
            ("10.0.0.1/33", "10.0.0.1", 80, false),
            ("10.0.0.0/x", "10.0.0.1", 80, false),
            ("10.0.0.1", "10.0.0.1", 80, true),
            ("0.1", "10.0.0.1", 80, false),
            ("10.0.0.0/8:81", "10.0.0.1", 81, true),
            ("10.0.0.0/8", "10.example", 80, false),
            ("fd00::/8", "fd12::1", 80, true),
            ("fd00::/8", "fe80::1", 80, false),
            ("::/0", "fe80::1", 80, true),
            ("::/0", "1.2.3.4", 80, false),
            ("fd00::1/128", "fd00::1", 80, true),
            ("fd00::1/129", "fd00::1", 80, false),
            ("2001:db8::1", "2001:db8:0::1", 80, true),
            ("[2001:db8::1]:81", "2001:db8::1", 81, true),
            ("[2001:db8::1]:81", "2001:db8::1", 80, false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", 80, true),
        ] {
            assert_eq!(
                is_excepted(list.as_bytes(), host, port),
                expected,
                "{list:?} {host}:{port}"
            );
        }
    }
}
