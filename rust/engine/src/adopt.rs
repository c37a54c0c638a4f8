//! Connections on sockets that the program had before: their upgrade begins where the program, or
//! whoever had the socket, has left it.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;

use evws_proto::connection::Config;
use evws_proto::handshake::{self, Headers, Rejection, Request, RequestParts};
use evws_proto::Role;

use crate::connect::CallError;
use crate::context::Context;
use crate::establish::desk::Desk;
use crate::establish::server::{self, Received};
use crate::establish::stream::{Socket, Stream};
use crate::establish::Establishing;
use crate::event::{Id, Queued};
use crate::link::{Link, Stage};
use crate::pending::{Origin, Pending};
use crate::slots::Source;
use crate::sys;
use crate::upgrade::{Allowed, UpgradeOptions};
use crate::words;

/// What a socket is when it is adopted.
#[derive(Clone, Debug)]
pub enum AdoptedAs {
    /// A client's, which will send its request, or the rest of it.
    Client,
    /// A client's, whose request somebody has read. What was read already is what follows it.
    Requested(RequestParts),
    /// A connection whose upgrade is over, with the role that we have in it.
    Upgraded(Role),
}

/// What a socket is adopted with.
#[derive(Clone, Debug)]
pub struct AdoptOptions {
    /// A descriptor, which stays the caller's. From a call that succeeds on it is non-blocking.
    pub fd: RawFd,
    /// What it is.
    pub kind: AdoptedAs,
    /// Bytes that were read from it.
    pub initial_data: Vec<u8>,
    /// The upgrade, and the connection.
    pub upgrade: UpgradeOptions,
}

impl AdoptOptions {
    /// Checks everything but the descriptor.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for a subprotocol or a header that cannot be used, or a request that
    /// is no acceptable upgrade.
    pub fn check(&self) -> Result<(), CallError> {
        self.checked().map(drop)
    }

    /// Who is let in, and the request, as far as it is there.
    fn checked(&self) -> Result<(Allowed, Option<Request>), CallError> {
        let allowed = self.upgrade.check("adopt")?;
        match self.read_request() {
            Ok(request) => Ok((allowed, request)),
            Err(rejection) => {
                let text = format!("Failed to adopt socket: {rejection}");
                Err(CallError::Invalid(text))
            }
        }
    }

    fn read_request(&self) -> Result<Option<Request>, Rejection> {
        let request = match &self.kind {
            AdoptedAs::Client => {
                handshake::parse_request(&self.initial_data)?.map(|(_, request)| request)
            }
            AdoptedAs::Requested(parts) => Some(parts.upgrade()?),
            AdoptedAs::Upgraded(_) => None,
        };
        if let (Some(request), Some(ours)) = (&request, &self.upgrade.settings.deflate) {
            handshake::accept_offer(&request.extensions, ours)?;
        }
        Ok(request)
    }
}

impl Context {
    /// Takes over a connected socket by a descriptor of our own. What comes of it is an event. When
    /// the connection ends, its stream is shut down for all descriptors.
    ///
    /// # Errors
    /// As [`AdoptOptions::check`], and [`CallError::System`] for a descriptor that is no connected
    /// stream socket. The socket is as it was then.
    pub fn adopt(&mut self, options: AdoptOptions) -> Result<Id, CallError> {
        self.check_open("adopt")?;
        let (allowed, request) = options.checked()?;
        let fd = take_over(options.fd)?;
        Ok(match options.kind {
            AdoptedAs::Upgraded(role) => self.adopt_upgraded(fd, role, options),
            AdoptedAs::Requested(_) => self.adopt_request(fd, request, allowed, options),
            // It is still at the front of the initial data.
            AdoptedAs::Client => self.adopt_request(fd, None, allowed, options),
        })
    }

    fn adopt_request(
        &mut self,
        fd: OwnedFd,
        request: Option<Request>,
        allowed: Allowed,
        options: AdoptOptions,
    ) -> Id {
        let timeout = options.upgrade.timeout;
        let settings = options.upgrade.settings;
        let policy = options.upgrade.policy(allowed);
        let received = Received {
            request,
            input: options.initial_data,
        };
        let socket = Rc::new(Socket::new(fd));
        let desk = Rc::new(Desk::default());
        let stream = Stream(Rc::clone(&socket));
        let task = server::establish(stream, Rc::clone(&desk), Rc::new(policy), received);
        let pending = Pending {
            establishing: Establishing::new(socket, desk, task),
            settings,
            origin: Origin::Adopted,
            secure: false,
        };
        let id = self.slots.insert(Source::Pending(Box::new(pending)));
        self.slots.set_deadline(id, timeout);
        self.advance(id, false);
        id
    }

    fn adopt_upgraded(&mut self, fd: OwnedFd, role: Role, options: AdoptOptions) -> Id {
        self.masks.prepare();
        let config = Config {
            role,
            max_message_size: options.upgrade.settings.max_message_size,
            validate_utf8: options.upgrade.settings.validate_utf8,
        };
        let mut link = Link::new(fd, &config, Stage::Announced);
        link.shared = true;
        link.rest = options.initial_data;
        link.protocol = options
            .upgrade
            .protocols
            .into_iter()
            .next()
            .map(String::into);
        link.wants = options.upgrade.settings.wants;
        let id = self.slots.insert(Source::Link(Box::new(link)));
        self.links += 1;
        self.events.push_back(Queued::Connect {
            id,
            headers: Headers::new(),
            listener: None,
        });
        self.mark_changed(id);
        id
    }
}

/// A descriptor of our own for a socket that can be adopted, which is non-blocking from now on.
fn take_over(fd: RawFd) -> Result<OwnedFd, CallError> {
    let own = || {
        let own = sys::duplicate(fd)?;
        sys::check_connected_stream(own.as_fd())?;
        sys::set_nonblocking(own.as_fd())?;
        sys::set_nodelay(own.as_fd());
        Ok(own)
    };
    own().map_err(|error: io::Error| {
        CallError::System(format!("Failed to adopt socket: {}", words::system(&error)))
    })
}
