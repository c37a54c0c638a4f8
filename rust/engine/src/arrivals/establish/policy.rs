//! Who is let in at a listener, or on a socket that was adopted, and on which terms.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::deflate;
use evws_proto::forwarded::Trusted;
use evws_proto::handshake::{HeadLimits, Headers, Hosts, Origins};

use crate::guest::Admission;
use crate::tls::server::ListenerTls;

/// Whether clients come with a head of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeads {
    /// Such a head is no request.
    #[default]
    Unknown,
    /// With or without.
    Optional,
    /// Whoever has none is dropped.
    Required,
}

/// What a listener does with a request.
pub struct Policy {
    /// The subprotocols it allows.
    pub protocols: Vec<String>,
    /// The parameters of permessage-deflate that are accepted; `None`: it is refused.
    pub deflate: Option<deflate::Options>,
    /// How large the head of a request may be.
    pub head: HeadLimits,
    /// Added to every response that accepts.
    pub headers: Headers,
    /// The pages that may ask for an upgrade; `None`: all.
    pub origins: Option<Origins>,
    /// The hosts that requests may be for; `None`: any.
    pub hosts: Option<Hosts>,
    /// Whether the program decides on pages that are not among them.
    pub ask_origin: bool,
    /// Whether the program decides on each request for an upgrade.
    pub ask: bool,
    /// Whether the program answers the requests that are none.
    pub serve: bool,
    /// How long a client may take for a request, or not take any of an answer, and the program for a decision;
    /// `None`: as long as they like.
    pub timeout: Option<Duration>,
    /// Whether the program hears of clients that are rejected.
    pub report_rejects: bool,
    /// The proxies that are believed; `None`: those that send a head of the PROXY protocol, and none by its headers.
    pub trusted: Option<Trusted>,
    /// Whether clients come with a head of the PROXY protocol.
    pub proxy_heads: ProxyHeads,
    /// How many clients there may be; `None`: they are not counted.
    pub admission: Option<Rc<Admission>>,
    /// TLS of its connections; `None`: there is none.
    pub tls: Option<ListenerTls>,
    /// The listener was stopped: no further request is read of a connection that has its answer.
    pub stopped: Cell<bool>,
    /// As many connections are under way as may be: none is kept for a further request.
    pub is_full: Cell<bool>,
}

impl Policy {
    /// Whether a connection ends with the answer to its request.
    pub fn keeps_none(&self) -> bool {
        self.stopped.get() || self.is_full.get()
    }
}
