//! New sources: connections of a client, and listeners. And what is asked of a connection.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::connection::State;
use evws_proto::handshake::ClientRequest;
use evws_proto::proxy::rules::Rules;
use evws_proto::url::Url;

use crate::bind::{self, check_path, Place};
use crate::context::Context;
use crate::establish::client::Route;
use crate::establish::desk::{Awaited, Desk};
use crate::establish::server::Policy;
use crate::establish::stream::{Socket, Stream};
use crate::establish::{client, Establishing};
use crate::event::Id;
use crate::link::{Link, Stage};
use crate::pending::{Origin, Pending, Settings};
use crate::secure;
use crate::slots::Source;
use crate::sys;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;
use crate::upgrade::UpgradeOptions;
use crate::words;

/// What a client connects with.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `ws://host[:port][/path][?query]`, or `wss://`
    pub url: Vec<u8>,
    /// The addresses of the URL's host, which is then not looked up. Of no use behind a proxy.
    pub addresses: Option<Vec<SocketAddr>>,
    /// Subprotocols, the preferred one first.
    pub protocols: Vec<String>,
    /// Further headers of the request, with names as they are to be sent.
    pub headers: Vec<(String, Vec<u8>)>,
    /// From the call to the end of the upgrade; `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// What a `wss://` URL is connected with.
    pub tls: ClientTls,
    /// The name that the server is to prove, and that it is asked for (SNI); `None`: the URL's.
    pub server_name: Option<String>,
    /// For the connection.
    pub settings: Settings,
}

/// What a listener accepts with.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Where.
    pub place: Place,
    /// How many connections may wait to be accepted; `None`: as many as the system allows.
    pub backlog: Option<i32>,
    /// The upgrades that it accepts, and every connection.
    pub upgrade: UpgradeOptions,
    /// Whether the program answers the requests that are none.
    pub serve: bool,
    /// `None`: no TLS.
    pub tls: Option<ServerTls>,
}

/// Why a call was refused, in words for the program.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// An argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The system said no.
    #[error("{0}")]
    System(String),
}

/// Where a connection stands, as its program knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// On its way.
    Connecting,
    /// Open in both directions.
    Connected,
    /// A Close frame was sent.
    Closing,
    /// Ended; also every stale id.
    Closed,
}

impl Context {
    /// Sets which proxy the clients go through that connect from now on. Without this, none does.
    pub fn set_proxies(&mut self, rules: Rules) {
        self.proxies = rules;
    }

    /// Begins to connect. What comes of it is an event.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for an URL, a subprotocol or a header that cannot be used.
    pub fn connect(&mut self, options: ConnectOptions) -> Result<Id, CallError> {
        let invalid = |text: String| CallError::Invalid(text);
        self.check_open("connect")?;
        check_deflate("connect", &options.settings)?;
        let url = Url::parse(&options.url).map_err(|error| invalid(error.to_string()))?;
        if let Some(path) = &url.socket {
            check_path("connect: the socket path in url", path)?;
        }
        let request = ClientRequest {
            host: url.host_header(),
            target: url.target.clone(),
            protocols: options.protocols,
            headers: options.headers,
            deflate: options.settings.deflate,
        };
        request
            .check()
            .map_err(|error| invalid(error.to_string()))?;
        let secure = if url.secure {
            Some(self.secure(&url, &options.tls, options.server_name)?)
        } else {
            None
        };
        self.masks.prepare();
        let socket = Rc::new(Socket::default());
        let desk = Rc::new(Desk::default());
        let is_secure = secure.is_some();
        let stream = Stream(Rc::clone(&socket));
        let route = self.route(&url, options.addresses);
        let task = client::establish(stream, Rc::clone(&desk), url, route, request, secure);
        let establishing = Establishing::new(socket, desk, task);
        let pending = Pending {
            establishing,
            settings: options.settings,
            origin: Origin::Client,
            secure: is_secure,
        };
        let id = self.slots.insert(Source::Pending(Box::new(pending)));
        self.slots.set_deadline(id, options.timeout);
        self.advance(id, false);
        Ok(id)
    }

    fn route(&self, url: &Url, addresses: Option<Vec<SocketAddr>>) -> Route {
        if let Some(path) = &url.socket {
            return Route::Unix(PathBuf::from(OsStr::from_bytes(path)));
        }
        match (self.proxies.choose(url), addresses) {
            (Err(text), _) => Route::Unknown(text),
            (Ok(Some(proxy)), _) => Route::Proxy(proxy),
            (Ok(None), Some(addresses)) => Route::Addresses(addresses),
            (Ok(None), None) => Route::Lookup,
        }
    }

    /// Listens. Returns the listener, which is no token, and its port, 0 if it has none.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for a subprotocol, a header, an origin or a host that cannot be
    /// used, or a certificate; [`CallError::System`] if the port cannot be bound.
    pub fn listen(&mut self, options: ListenOptions) -> Result<(Id, u16), CallError> {
        self.check_open("listen")?;
        let allowed = options.upgrade.check("listen")?;
        let tls = options.tls.map(secure::listener).transpose()?;
        let bound = bind::bind(&options.place, options.backlog)?;
        let port = bound.address.port;
        let settings = options.upgrade.settings;
        let policy = Policy {
            serve: options.serve,
            tls,
            ..options.upgrade.policy(allowed)
        };
        let id = self.add_listener(bound, settings, policy);
        Ok((id, port))
    }

    /// Stops delivering, until [`resume`](Self::resume). Does nothing unless connected.
    pub fn pause(&mut self, id: Id) {
        if let Some(link) = self.slots.link_mut(id).filter(|link| link.is_open()) {
            link.paused = true;
            self.mark_changed(id);
        }
    }

    /// Goes on delivering. Does nothing unless connected.
    pub fn resume(&mut self, id: Id) {
        if let Some(link) = self.slots.link_mut(id).filter(|link| link.is_open()) {
            link.paused = false;
            if link.has_rest() {
                self.ready_now.push_back(id);
            }
            self.mark_changed(id);
        }
    }

    /// Where a connection stands.
    pub fn state(&self, id: Id) -> ConnectionState {
        match self.slots.get(id).map(|slot| &slot.source) {
            Some(Source::Pending(_) | Source::GivenUp { on_demand: false }) => {
                ConnectionState::Connecting
            }
            Some(Source::GivenUp { on_demand: true }) => ConnectionState::Closing,
            Some(Source::Link(link)) => match (link.stage, link.proto.state()) {
                (Stage::Announced, _) => ConnectionState::Connecting,
                (Stage::Open, State::Open) => ConnectionState::Connected,
                (Stage::Open | Stage::Ended, _) => ConnectionState::Closing,
                (Stage::Lingering, _) => ConnectionState::Closed,
            },
            _ => ConnectionState::Closed,
        }
    }

    /// The negotiated subprotocol.
    pub fn protocol(&self, id: Id) -> Option<&str> {
        self.known(id)?.protocol.as_deref()
    }

    /// The negotiated extension, as the server's response says it.
    pub fn extensions(&self, id: Id) -> Option<&str> {
        self.known(id)?.extensions.as_deref()
    }

    /// The peer's address, also of one whose request waits for an answer; an IPv4 address that came
    /// in over an IPv6 socket as IPv4.
    pub fn peer_address(&self, id: Id) -> Option<IpAddr> {
        let address = match self.awaited(id) {
            Some(Awaited::Handshake(..) | Awaited::Request(_)) => {
                let establishing = &self.slots.pending(id)?.establishing;
                establishing.socket.peer_address()
            }
            _ => sys::peer_address(self.known(id)?.fd.as_fd()),
        };
        Some(address?.ip().to_canonical())
    }

    pub(crate) fn known(&self, id: Id) -> Option<&Link> {
        self.slots.link(id).filter(|link| link.is_known())
    }
}

/// `call` is its name in the text of the error.
pub(crate) fn check_deflate(call: &str, settings: &Settings) -> Result<(), CallError> {
    match settings.deflate.map(|options| options.check()) {
        Some(Err(error)) => Err(CallError::Invalid(format!("{call}: {error}"))),
        Some(Ok(())) | None => Ok(()),
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        CallError::System(words::system(&error))
    }
}
