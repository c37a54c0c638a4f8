//! New connections of a client, and new listeners.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::handshake::ClientRequest;
use evws_proto::proxy::rules::Rules;
use evws_proto::url::Url;
use rustls::pki_types::ServerName;

use super::bind::{self, check_path, BindAddress};
use super::establish::client::{ClientTlsSetup, Route};
use super::establish::mailbox::Mailbox;
use super::establish::policy::{Policy, ProxyHeads};
use super::establish::stream::{Socket, Stream};
use super::establish::{client, Establishing};
use super::pending::{ConnectionSource, Pending};
use super::upgrade::{check_deflate, UpgradeOptions};
use super::{Arrival, Arrivals};
use crate::error::CallError;
use crate::event::{Id, Settings};
use crate::guest::Admission;
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::tls::client::ClientTls;
use crate::tls::server::{ListenerTls, ServerTls};

/// The options of a client.
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
    /// TLS of a `wss://` URL.
    pub tls: ClientTls,
    /// The name that the server is to prove, and that it is asked for (SNI); `None`: the URL's.
    pub server_name: Option<String>,
    /// The options of the connection.
    pub settings: Settings,
}

/// The options of a listener.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Where its sockets are bound.
    pub place: BindAddress,
    /// How many connections may wait to be accepted; `None`: as many as the system allows.
    pub backlog: Option<i32>,
    /// The upgrades that it accepts, and every connection.
    pub upgrade: UpgradeOptions,
    /// Whether the program answers requests that are no upgrade.
    pub serve: bool,
    /// `None`: no TLS.
    pub tls: Option<ServerTls>,
    /// Whether clients come with a head of the PROXY protocol.
    pub proxy_heads: ProxyHeads,
    /// How many connections there may be, established or under way; 0: no limit.
    pub max_connections: usize,
    /// How many of them of one address, or of one /64 of IPv6; 0: no limit.
    pub max_connections_per_address: usize,
    /// How many may be under way before accepting pauses; 0: no limit.
    pub max_handshakes: usize,
}

impl Arrivals {
    /// Sets the proxies of clients that connect from now on.
    pub fn set_proxies(&mut self, rules: Rules) {
        self.proxies = rules;
    }

    /// Begins to connect a client.
    pub fn connect(
        &mut self,
        options: ConnectOptions,
        shared: &mut Shared<'_>,
    ) -> Result<Id, CallError> {
        self.check_open()?;
        check_deflate(&options.settings)?;
        let url = Url::parse(&options.url)?;
        if let Some(path) = &url.socket {
            check_path(path).map_err(CallError::UrlPath)?;
        }
        let request = ClientRequest {
            host: url.host_header(),
            target: url.target.clone(),
            protocols: options.protocols,
            headers: options.headers,
            deflate: options.settings.deflate,
            limits: options.settings.limits.head,
        };
        request.check()?;
        let secure = if url.secure {
            Some(self.secure(&url, &options.tls, options.server_name)?)
        } else {
            None
        };
        let socket = Rc::new(Socket::default());
        let mailbox = Rc::new(Mailbox::new(self.log.clone()));
        let is_secure = secure.is_some();
        let stream = Stream(Rc::clone(&socket));
        let route = self.route(&url, options.addresses);
        let task = client::establish(stream, Rc::clone(&mailbox), url, route, request, secure);
        let pending = Pending {
            establishing: Establishing::new(socket, mailbox, task),
            settings: options.settings,
            source: ConnectionSource::Client,
            secure: is_secure,
        };
        let id = self.insert(Arrival::Pending(Box::new(pending)), shared.reactor);
        shared.reactor.start(id, Timer::Handshake, options.timeout);
        self.advance(id, false, shared);
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

    /// TLS for a `wss://` URL.
    fn secure(
        &mut self,
        url: &Url,
        options: &ClientTls,
        name: Option<String>,
    ) -> Result<ClientTlsSetup, CallError> {
        let configuration = self.client_configs.configuration(options)?;
        let name = name.unwrap_or_else(|| url.host.clone());
        let name = ServerName::try_from(name.clone()).map_err(|_| CallError::ServerName(name))?;
        Ok(ClientTlsSetup {
            configuration,
            name,
            verify: options.verify,
        })
    }

    /// Listens. Returns the listener, which is no token, and its port, 0 if it has none.
    ///
    /// # Errors
    /// [`CallError`] for a subprotocol, a header, an origin or a host that cannot be
    /// used, or a certificate; [`CallError`] if the port cannot be bound.
    pub fn listen(
        &mut self,
        options: ListenOptions,
        reactor: &mut Reactor,
    ) -> Result<(Id, u16), CallError> {
        self.check_open()?;
        let allowed = options.upgrade.check()?;
        let tls = options.tls.map(ListenerTls::new).transpose()?;
        let bound = bind::bind(&options.place, options.backlog)?;
        let port = bound.address.port;
        let settings = options.upgrade.settings.clone();
        let policy = Policy {
            serve: options.serve,
            tls,
            proxy_heads: options.proxy_heads,
            admission: Admission::new(options.max_connections, options.max_connections_per_address),
            ..options.upgrade.policy(allowed)
        };
        let max_pending = options.max_handshakes;
        let id = self.add_listener(bound, settings, policy, max_pending, reactor);
        Ok((id, port))
    }

    /// # Errors
    /// A shutdown has begun: nothing else is.
    pub(super) fn check_open(&self) -> Result<(), CallError> {
        if self.is_refusing {
            return Err(CallError::ShutDown);
        }
        Ok(())
    }
}
