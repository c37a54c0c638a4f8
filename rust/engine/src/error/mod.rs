//! Why a call was refused, and what the system says went wrong.

mod tls;

use std::io;

use evws_proto::close::{self, CloseCodeError};
use evws_proto::deflate::OptionError;
use evws_proto::forwarded::TrustedError;
use evws_proto::handshake::{EntryError, HeaderError, Rejection, RequestError};
use evws_proto::http::{status_refusal, HttpResponseError};
use evws_proto::proxy::ProxyError;
use evws_proto::url::UrlError;

pub use tls::{PemFile, PemRole, TlsError};

/// Why a call was refused. The text does not say which call: the caller knows what the program has called, and
/// [`text`](Self::text) has what it says of the options.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A shutdown has begun.
    #[error("the context has been shut down")]
    ShutDown,
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The path of the URL's Unix socket.
    #[error("the socket path in url {0}")]
    UrlPath(PathError),
    /// The request of a client: a header, a subprotocol.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A header of a server's response, or a subprotocol of a server.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A subprotocol that a client did not ask for.
    #[error("the client did not ask for {}", not_asked(protocol, asked))]
    NotAsked {
        /// This one.
        protocol: String,
        /// What it asks for.
        asked: Vec<String>,
    },
    /// A parameter of compression.
    #[error(transparent)]
    Deflate(#[from] OptionError),
    /// One of the pages that may ask for an upgrade.
    #[error(transparent)]
    Origins(EntryError),
    /// One of the hosts that are answered to.
    #[error(transparent)]
    Hosts(EntryError),
    /// An entry of the proxies that are believed.
    #[error(transparent)]
    TrustedProxies(TrustedError),
    /// A response that is no upgrade.
    #[error(transparent)]
    Response(#[from] HttpResponseError),
    /// A close code.
    #[error(transparent)]
    CloseCode(#[from] CloseCodeError),
    /// A proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A file, or another setting of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate that a listener shows to everybody, or its key.
    #[error(transparent)]
    Certificate(TlsError),
    /// The name that a server is to prove.
    #[error("'{0}' is neither a host name nor an address that TLS can check")]
    ServerName(String),
    /// What is to be reloaded is not there.
    #[error("there is no listener with TLS")]
    NoTls,
    /// A host to listen at.
    #[error("host {0}")]
    Host(String),
    /// The path of a Unix socket to listen at.
    #[error("path {0}")]
    Path(PathError),
    /// The system lets nobody listen there.
    #[error("{what}: {}", system_text(.error))]
    Bind {
        /// Where.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The request that an adopted socket has brought with it.
    #[error("{0}")]
    Adopted(Rejection),
    /// The socket that is to be adopted.
    #[error("{}", system_text(.0))]
    Socket(io::Error),
}

impl CallError {
    /// The text for a caller who knows this.
    pub fn text(&self, names: &Names<'_>) -> String {
        match (self, names.given) {
            (CallError::Deflate(error), Some(given)) => error.option.refusal(given),
            (CallError::CloseCode(_), Some(given)) => close::refusal(given),
            (CallError::Response(HttpResponseError::Status(_)), Some(given)) => {
                status_refusal(given)
            }
            (CallError::Tls(error) | CallError::Certificate(error), _) => {
                error.text(names.tls_prefix)
            }
            (other, _) => other.to_string(),
        }
    }
}

/// What only a caller knows of its options.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// What stands before the names of the options of TLS; `None`: they are called what they are for.
    pub tls_prefix: Option<&'a str>,
    /// The number that was refused, as it was given to the caller, who had to make one of it; `None`: as it came here.
    pub given: Option<&'a str>,
}

fn not_asked(protocol: &str, asked: &[String]) -> String {
    let quoted = |one: &str| format!("'{}'", one.escape_debug());
    let asked: Vec<String> = asked.iter().map(|one| quoted(one)).collect();
    match asked.is_empty() {
        true => format!("any subprotocol (got {})", quoted(protocol)),
        false => format!("{}, but for {}", quoted(protocol), asked.join(", ")),
    }
}

/// Why the path of a Unix socket cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is none.
    #[error("must not be empty")]
    Empty,
    /// The system's structure has no room for it.
    #[error("must not have more than {max} bytes (got {0})", max = crate::sys::UNIX_PATH_MAX)]
    Long(usize),
    /// The system would take it for a shorter one.
    #[error("must not contain NUL")]
    Nul,
}

/// Rust puts this in front of what getaddrinfo(3) says.
const LOOKUP: &str = "failed to lookup address information: ";

/// What the system says went wrong, in the words of strerror(3), which perl's `$!` has: without the
/// number that Rust appends.
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error
        .raw_os_error()
        .map(|number| format!(" (os error {number})"));
    let text = match &number {
        Some(number) => text.strip_suffix(number).unwrap_or(&text),
        None => text.strip_prefix(LOOKUP).unwrap_or(&text),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn an_error_of_the_system_has_no_number() {
        // ENOENT, which is 2 everywhere.
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(system_text(&missing), "No such file or directory");
    }

    #[test]
    fn any_other_is_what_it_says() {
        assert_eq!(system_text(&io::Error::other("closed")), "closed");
        assert_eq!(
            system_text(&io::Error::other("odd (os error 3)")),
            "odd (os error 3)"
        );
    }

    #[test]
    fn a_name_that_is_none_is_no_failed_lookup_information() {
        let error = ("not a name", 1).to_socket_addrs().unwrap_err();
        assert!(!system_text(&error).contains("lookup"), "{error}");
    }
}
