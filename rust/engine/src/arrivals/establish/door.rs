//! Who a listener's client is, as proxies before us say it, and whether there is a place for him.

use std::net::{IpAddr, SocketAddr};

use evws_proto::forwarded::{self, FieldError, Peer, ProxyHead, Trusted};
use evws_proto::handshake::{Headers, Rejection};
use evws_proto::http::HttpResponse;

use super::mailbox::Elapsed;
use super::policy::{Policy, ProxyHeads};
use super::rejected::Rejected;
use super::server::{Seldom, Server};
use super::{read_more, EstablishError};
use crate::event::RejectCause;
use crate::guest::{Full, Guest};

/// Seconds after which a client may try again that found no place.
const RETRY_AFTER: &str = "5";

/// What a listener has found out about a client.
#[derive(Debug, Default)]
pub struct Door {
    /// What goes on with the connection.
    pub guest: Guest,
    /// There was no place for it, which it is told when it has asked.
    full: Option<Full>,
    /// Who it is to the program.
    peer: Peer,
    /// A proxy has passed on somebody whom it does not name. So it is not known who has written the headers of the request,
    /// and they name nobody.
    is_nameless: bool,
}

impl Door {
    /// For a client that was accepted from this address; `None`: from a Unix socket.
    pub fn of(policy: &Policy, address: Option<SocketAddr>) -> Door {
        let mut door = Door {
            peer: address.into(),
            ..Door::default()
        };
        if let Some(admission) = &policy.admission {
            match admission.enter() {
                Ok(seat) => door.guest.seat = Some(seat),
                Err(full) => door.full = Some(full),
            }
        }
        if policy.proxy_heads == ProxyHeads::Unknown {
            door.arrive(policy);
        }
        door
    }

    /// A client counts by its address as soon as that is known. Behind a proxy it is known with the request.
    fn arrive(&mut self, policy: &Policy) {
        if self.believes_headers(policy).is_none() {
            self.settle(self.peer.ip());
        }
    }

    /// If the headers of a request may say who the client is: the proxies that are believed.
    fn believes_headers<'a>(&self, policy: &'a Policy) -> Option<&'a Trusted> {
        let trusted = policy.trusted.as_ref();
        trusted.filter(|trusted| trusted.has(self.peer) && !self.is_nameless)
    }

    fn settle(&mut self, address: Option<IpAddr>) {
        if let Some(seat) = &mut self.guest.seat {
            self.full = seat.settle(address).err();
        }
    }
}

impl Server {
    /// Reads the head of the PROXY protocol from the front of the stream, and leaves what follows it in `input`.
    pub(super) async fn read_proxy_head(&mut self) -> Result<(), EstablishError> {
        let is_required = self.policy.proxy_heads == ProxyHeads::Required;
        let believes = |trusted: &Trusted| trusted.has(self.door.peer);
        let is_believed = self.policy.trusted.as_ref().is_none_or(believes);
        let untrusted = || Rejected::proxy("the client is no trusted proxy");
        if is_required && !is_believed {
            return Err(untrusted().into());
        }
        let (length, head) = loop {
            match forwarded::parse_head(&self.input) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(error) => return Err(Rejected::proxy(&error.to_string()).into()),
            }
            let read = read_more(&mut self.socket, &mut self.input);
            match self.mailbox.in_time(read).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => return Err(Rejected::gone(None).into()),
                Ok(Err(error)) => return Err(Rejected::gone(Some(error)).into()),
                Err(Elapsed) => return Err(Rejected::late(&self.mailbox).into()),
            }
        };
        match head {
            ProxyHead::Absent if is_required => {
                return Err(Rejected::proxy("there is no head").into())
            }
            ProxyHead::Absent => {}
            _ if !is_believed => return Err(untrusted().into()),
            // The real connection counts, as the PROXY protocol says.
            ProxyHead::Local => self.door.is_nameless = true,
            ProxyHead::Client(peer) => {
                self.mailbox
                    .log(format_args!("PROXY: the client is {peer}"));
                self.door.peer = peer;
                self.door.guest.claimed = Some(peer);
                self.mailbox.claimed.set(Some(peer));
            }
        }
        self.input.drain(..length);
        self.door.arrive(&self.policy);
        Ok(())
    }

    /// The request was answered. The next one on the same connection may be another client's.
    pub(super) fn forget_client(&mut self) {
        if self.door.believes_headers(&self.policy).is_some() {
            self.mailbox.claimed.set(self.door.guest.claimed);
            self.door.settle(None);
        }
    }

    /// Finds out who sends a request with these headers, and whether there is a place for him.
    pub(super) async fn check_client(&mut self, headers: &Headers) -> Result<(), EstablishError> {
        if let Some(trusted) = self.door.believes_headers(&self.policy) {
            match forwarded::client(self.door.peer, headers, trusted) {
                Ok(peer) => {
                    let named = Some(peer).filter(|&peer| peer != self.door.peer);
                    self.mailbox.claimed.set(named.or(self.door.guest.claimed));
                }
                Err(error) => return self.refuse_forwarded(error).await,
            }
            let peer = self.mailbox.claimed.get().unwrap_or(self.door.peer);
            self.door.settle(peer.ip());
        }
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
        let rejected = Rejected::refused(RejectCause::Limit, &rejection.to_string());
        self.end_with(response.encode_last(), rejected).await
    }

    fn refuse_forwarded<T>(&mut self, error: FieldError) -> Seldom<'_, T> {
        let text = match error {
            FieldError::Different => "X-Forwarded-For and Forwarded name different clients.",
            FieldError::Malformed(_) => "What a proxy says about its client is malformed.",
        };
        let rejection = Rejection { status: 400, text };
        let rejected = Rejected::refused(RejectCause::Proxy, &rejection.to_string());
        self.end_with(rejection.encode(), rejected)
    }
}
