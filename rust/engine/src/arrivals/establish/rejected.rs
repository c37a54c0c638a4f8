//! Why a server's connection has ended before its upgrade was done.

use std::io;

use evws_proto::handshake::{Headers, Rejection};
use evws_proto::http::HttpResponse;

use super::mailbox::Mailbox;
use super::EstablishError;
use crate::error;
use crate::event::RejectCause;

/// Why nothing is established any more once a shutdown has begun.
pub const SHUTTING_DOWN: &str = "the context is shutting down";

/// A client that does not become a connection.
pub struct Rejected {
    /// Why; `None`: nothing is wrong, and its requests were answered.
    pub cause: Option<RejectCause>,
    /// The same for the program of a listener. What stands before a colon stays the same.
    pub why: String,
    /// The same for the program of an adopted connection, and for the log.
    pub text: String,
    /// Its request's headers, as far as there is one.
    pub headers: Headers,
}

impl Rejected {
    /// The client has left before its upgrade was done.
    pub fn gone(error: Option<io::Error>) -> Rejected {
        let detail = error.map_or_else(String::new, |error| {
            format!(": {}", error::system_text(&error))
        });
        Rejected::new(
            RejectCause::Gone,
            format!("gone{detail}"),
            format!("the client went away during the upgrade{detail}"),
        )
    }

    /// It has left, or is left, and what it has asked for was answered.
    pub fn served() -> Rejected {
        Rejected {
            cause: None,
            ..Rejected::gone(None)
        }
    }

    /// The TLS handshake has failed.
    pub fn tls(error: io::Error) -> Rejected {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Rejected::gone(None);
        }
        let why = error::system_text(&error);
        Rejected::new(
            RejectCause::Tls,
            format!("TLS: {why}"),
            format!("the client went away during the upgrade: {why}"),
        )
    }

    /// What it, or a proxy, was to say before its request is missing or wrong.
    pub fn proxy(what: &str) -> Rejected {
        Rejected::new(
            RejectCause::Proxy,
            format!("PROXY: {what}"),
            format!("the head of the PROXY protocol: {what}"),
        )
    }

    /// Its time is over, and it has got no answer.
    pub fn late(mailbox: &Mailbox) -> Rejected {
        if mailbox.is_shutting_down() {
            return Rejected::given_up(SHUTTING_DOWN);
        }
        Rejected {
            cause: Some(RejectCause::Timeout),
            why: "timeout".to_owned(),
            ..Rejected::gone(None)
        }
    }

    /// It is given up, and has got no answer.
    pub fn given_up(text: &str) -> Rejected {
        Rejected::new(RejectCause::Shutdown, text.to_owned(), text.to_owned())
    }

    /// It was refused with a response, which begins with this status line and says why in a sentence.
    pub fn refused(cause: RejectCause, answer: &str) -> Rejected {
        Rejected::new(
            cause,
            answer.to_owned(),
            format!("the upgrade was refused: {answer}"),
        )
    }

    /// It was refused by ourselves.
    pub fn by_rule(rejection: &Rejection) -> Rejected {
        let cause = match rejection.status {
            403 => RejectCause::Origin,
            408 | 503 => RejectCause::Timeout,
            421 => RejectCause::Host,
            _ => RejectCause::Request,
        };
        Rejected::refused(cause, &rejection.to_string())
    }

    fn new(cause: RejectCause, why: String, text: String) -> Rejected {
        Rejected {
            cause: Some(cause),
            why,
            text,
            headers: Headers::new(),
        }
    }
}

impl From<Rejected> for EstablishError {
    fn from(rejected: Rejected) -> EstablishError {
        EstablishError::Server(Box::new(rejected))
    }
}

/// The response to all requests once a shutdown has begun.
pub fn unavailable() -> HttpResponse {
    let mut response = HttpResponse::from(Rejection::new(503));
    response.headers.push(("Connection".into(), "close".into()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_indices() {
        for (index, cause) in RejectCause::ALL.into_iter().enumerate() {
            assert_eq!(cause.index(), index, "{cause:?}");
        }
    }

    #[test]
    fn what_the_program_of_a_listener_is_told() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let told = |rejected: Rejected| (rejected.cause, rejected.why);
        assert_eq!(
            told(Rejected::by_rule(&Rejection::new(421))),
            (
                Some(RejectCause::Host),
                "421 Misdirected Request: No host of this name is served here.".to_owned()
            )
        );
        for (status, cause) in [
            (403, RejectCause::Origin),
            (408, RejectCause::Timeout),
            (503, RejectCause::Timeout),
            (426, RejectCause::Request),
        ] {
            let rejected = Rejected::by_rule(&Rejection::new(status));
            assert_eq!(rejected.cause, Some(cause), "{status}");
        }
        assert_eq!(
            told(Rejected::late(&Mailbox::default())),
            (Some(RejectCause::Timeout), "timeout".to_owned())
        );
        assert_eq!(
            told(Rejected::tls(io::ErrorKind::UnexpectedEof.into())),
            (Some(RejectCause::Gone), "gone".to_owned())
        );
        assert!(told(Rejected::gone(Some(reset))).1.starts_with("gone: "));
        assert_eq!(told(Rejected::served()).0, None);
    }
}
