//! Connections on sockets that the program had before: their upgrade begins where the program, or
//! whoever had the socket, has left it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use evws_proto::handshake::{self, Rejection, RequestParts, UpgradeRequest};
use evws_proto::Role;

use super::establish::door::Door;
use super::establish::server::AlreadyRead;
use super::establish::stream::Socket;
use super::pending::ConnectionSource;
use super::upgrade::{Allowed, UpgradeOptions};
use super::{Arrivals, Arrived};
use crate::error::CallError;
use crate::event::{Event, Id};
use crate::log::Topic;
use crate::shared::Shared;
use crate::sys;
use crate::traffic::Upgraded;

/// How far the upgrade of an adopted socket has come.
#[derive(Clone, Debug)]
pub enum AdoptedAs {
    /// A client's, which will send its request, or the rest of it.
    Client,
    /// A client's, whose request was read by someone else. The initial data follows the request.
    Requested(RequestParts),
    /// A connection whose upgrade is over, with the role that we have in it.
    Upgraded(Role),
}

/// The options of an adopted socket.
#[derive(Clone, Debug)]
pub struct AdoptOptions {
    /// A descriptor, which stays the caller's. From a call that succeeds on it is non-blocking.
    pub fd: RawFd,
    /// How far its upgrade has come.
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
    /// [`CallError`] for a subprotocol or a header that cannot be used, or a request that
    /// is no acceptable upgrade.
    pub fn check(&self) -> Result<(), CallError> {
        self.checked().map(drop)
    }

    /// Who is let in, and the request, as far as it is there.
    fn checked(&self) -> Result<(Allowed, Option<UpgradeRequest>), CallError> {
        let allowed = self.upgrade.check()?;
        let request = self.read_request().map_err(CallError::Adopted)?;
        Ok((allowed, request))
    }

    fn read_request(&self) -> Result<Option<UpgradeRequest>, Rejection> {
        let request = match &self.kind {
            AdoptedAs::Client => {
                let limits = self.upgrade.settings.limits.head;
                handshake::parse_request(&self.initial_data, limits)?.map(|(_, request)| request)
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

impl Arrivals {
    /// Takes over a connected socket by a duplicate of its descriptor.
    pub fn adopt(
        &mut self,
        options: AdoptOptions,
        shared: &mut Shared<'_>,
    ) -> Result<Id, CallError> {
        self.check_open()?;
        let (allowed, request) = options.checked()?;
        let fd = take_over(options.fd)?;
        let request = match options.kind {
            AdoptedAs::Upgraded(role) => {
                return Ok(self.adopt_upgraded(fd, role, options, shared));
            }
            AdoptedAs::Requested(_) => request,
            // The request is still at the front of the initial data.
            AdoptedAs::Client => None,
        };
        let settings = options.upgrade.settings.clone();
        let policy = Rc::new(options.upgrade.policy(allowed));
        let received = AlreadyRead {
            request: request.map(Box::new),
            input: options.initial_data,
            door: Door::of(&policy, sys::peer_address(fd.as_fd())),
        };
        let (source, reactor) = (ConnectionSource::Adopted, &mut *shared.reactor);
        let socket = Socket::new(fd, None);
        let id = self.add_server(socket, policy, received, settings, source, reactor);
        self.advance(id, false, shared);
        Ok(id)
    }

    fn adopt_upgraded(
        &mut self,
        fd: OwnedFd,
        role: Role,
        options: AdoptOptions,
        shared: &mut Shared<'_>,
    ) -> Id {
        let id = shared.reactor.claim();
        let number = fd.as_raw_fd();
        self.log.write(
            Topic::Descriptor,
            id,
            format_args!("fd {number} is opened: adopted, upgraded"),
        );
        let upgraded = Upgraded {
            fd,
            role,
            settings: options.upgrade.settings,
            tls: None,
            protocol: options.upgrade.protocols.into_iter().next(),
            deflate: None,
            unparsed: options.initial_data,
            is_shared: true,
            guest: None,
            listener: None,
        };
        let listener = None;
        shared.outbox.push(Event::Connect { id, listener });
        self.arrived.push((id, Arrived::Upgraded(upgraded)));
        id
    }
}

/// A descriptor of our own for a socket that can be adopted, which is non-blocking from now on.
fn take_over(fd: RawFd) -> Result<OwnedFd, CallError> {
    let own = || -> io::Result<OwnedFd> {
        let own = sys::duplicate(fd)?;
        sys::check_connected_stream(own.as_fd())?;
        sys::set_nonblocking(own.as_fd())?;
        sys::set_nodelay(own.as_fd());
        Ok(own)
    };
    own().map_err(CallError::Socket)
}
