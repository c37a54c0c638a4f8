//! Whether there is a place for a listener's client.

use std::net::IpAddr;

use evws_proto::handshake::Rejection;
use evws_proto::http::HttpResponse;

use super::rejected::Rejected;
use super::server::{Policy, Server};
use super::EstablishError;
use crate::event::RejectCause;
use crate::guest::{Full, Guest};

/// Seconds after which a client may try again that found no place.
const RETRY_AFTER: &str = "5";

/// What a listener has found out about a client before its request.
#[derive(Debug, Default)]
pub struct Door {
    /// What goes on with the connection.
    pub guest: Guest,
    /// There was no place for it, which it is told when it has asked.
    pub full: Option<Full>,
}

impl Door {
    /// For a client that was accepted from this address; `None`: from a Unix socket.
    pub fn of(policy: &Policy, address: Option<IpAddr>) -> Door {
        let mut door = Door::default();
        if let Some(admission) = &policy.admission {
            match admission.enter(address) {
                Ok(seat) => door.guest.seat = Some(seat),
                Err(full) => door.full = Some(full),
            }
        }
        door
    }
}

impl Server {
    /// Refuses a client for which there is no place.
    pub(super) async fn check_place(&mut self) -> Result<(), EstablishError> {
        let Some(full) = self.door.full else {
            return Ok(());
        };
        let text = match full {
            Full::Whole => "There are too many connections.",
            Full::Block => "There are too many connections from this address.",
        };
        let rejection = Rejection { status: 503, text };
        let mut response = HttpResponse::from(rejection);
        let retry = ("Retry-After".to_owned(), RETRY_AFTER.into());
        response.headers.push(retry);
        let encoded = response.encode_last();
        self.mailbox.log_head("sent", &encoded);
        self.write(&encoded).await?;
        let rejected = Rejected::refused(RejectCause::Limit, &rejection.to_string());
        self.end(rejected).await
    }
}
