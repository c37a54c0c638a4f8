//! What a server accepts upgrades with, at a listener or on a socket that it adopts.

use std::cell::Cell;
use std::time::Duration;

use evws_proto::forwarded::Trusted;
use evws_proto::handshake::{self, Hosts, Origins};

use super::establish::policy::{Policy, ProxyHeads};
use crate::error::CallError;
use crate::event::Settings;

/// The parsed lists of origins, hosts and proxies.
#[derive(Default)]
pub struct Allowed {
    origins: Option<Origins>,
    hosts: Option<Hosts>,
    trusted: Option<Trusted>,
}

/// The options of a server's upgrades.
#[derive(Clone, Debug)]
pub struct UpgradeOptions {
    /// Subprotocols that may be chosen; of an upgrade that is over the first one was.
    pub protocols: Vec<String>,
    /// Further headers of every response.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The pages that may ask for an upgrade; `None`: all.
    pub origins: Option<Vec<String>>,
    /// The hosts that requests may be for; `None`: any.
    pub hosts: Option<Vec<String>>,
    /// The proxies that are believed about their clients; `None`: it was not said.
    pub trusted_proxies: Option<Vec<String>>,
    /// Whether the program decides on pages that are not among them.
    pub ask_origin: bool,
    /// Whether the program decides on each request for an upgrade.
    pub ask: bool,
    /// How long it may take from the connection to the program's decision, TLS and the client's request included, and for
    /// an answer that the client does not take; `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// The options of the connections.
    pub settings: Settings,
}

impl UpgradeOptions {
    /// Checks them. Returns who is let in.
    ///
    /// # Errors
    /// A subprotocol, a header, an origin, a host or a parameter of compression that cannot be used.
    pub(super) fn check(&self) -> Result<Allowed, CallError> {
        check_deflate(&self.settings)?;
        handshake::check_response_headers(&self.headers)?;
        for name in &self.protocols {
            handshake::check_protocol(name)?;
        }
        let origins = self.origins.as_deref().map(Origins::parse).transpose();
        let hosts = self.hosts.as_deref().map(Hosts::parse).transpose();
        let trusted = self.trusted_proxies.as_deref();
        let trusted = trusted.map(Trusted::parse).transpose();
        Ok(Allowed {
            origins: origins.map_err(CallError::Origins)?,
            hosts: hosts.map_err(CallError::Hosts)?,
            trusted: trusted.map_err(CallError::TrustedProxies)?,
        })
    }

    /// How requests are treated: without TLS, and none is accepted but for an upgrade.
    pub(super) fn policy(self, allowed: Allowed) -> Policy {
        Policy {
            protocols: self.protocols,
            deflate: self.settings.deflate,
            head: self.settings.limits.head,
            headers: self.headers,
            origins: allowed.origins,
            hosts: allowed.hosts,
            ask_origin: self.ask_origin,
            ask: self.ask,
            serve: false,
            report_rejects: self.settings.wants.reject,
            timeout: self.timeout,
            trusted: allowed.trusted,
            proxy_heads: ProxyHeads::Unknown,
            admission: None,
            tls: None,
            stopped: Cell::new(false),
            is_full: Cell::new(false),
        }
    }
}

/// # Errors
/// A parameter of permessage-deflate that is not one (RFC 7692, 7.1).
pub(super) fn check_deflate(settings: &Settings) -> Result<(), CallError> {
    let checked = settings.deflate.map(|options| options.check());
    Ok(checked.transpose().map(drop)?)
}
