//! What connections and listeners are made with.

use crate::limits::evws_limits;
use crate::types::*;

/// What a program allows of permessage-deflate (RFC 7692). A value out of range is refused with
/// `EVWS_STATUS_INVALID`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_deflate_options {
    /// Whether it is offered, or accepted. If not, nothing else here counts.
    pub enabled: bool,
    /// The server is to forget what it sent after each message.
    pub server_no_context_takeover: bool,
    /// The client is to forget what it sent after each message.
    pub client_no_context_takeover: bool,
    /// The base-2 logarithm of the server's window, from 9 to 15; 0: not given.
    pub server_max_window_bits: u8,
    /// The base-2 logarithm of the client's window; 0: not given.
    pub client_max_window_bits: u8,
    /// Bytes; a message with fewer goes out as it is.
    pub threshold: u64,
    /// From 1, fast, to 9, small.
    pub level: u8,
    /// Bytes that a connection may hold for it between two messages; 0: no limit. Only a direction with
    /// context takeover holds any: 47,700 for what the peer sends, and 249,000 and 4 for each byte of
    /// the window (380,000 for the largest) for what is sent. If that is more, the peer is bound to do
    /// without context takeover if not even its part fits, and our window is made smaller, down to 9
    /// bits, or used for one message at a time, until the rest fits.
    pub memory: u64,
}

/// What every connection is made with, whichever way it comes to be.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_settings {
    /// Subprotocols. A client's: the preferred one first. A server's: those that may be chosen.
    pub protocols: evws_strings,
    /// Further headers of a client's request, or of every response of a server, with names as they are to be sent.
    pub headers: evws_headers,
    /// Bytes; 0: no limit.
    pub max_message_size: u64,
    /// Whether text must be UTF-8.
    pub validate_utf8: bool,
    /// Bits of `EVWS_WANT_*`.
    pub wants: u32,
    /// Compression: what is offered, or accepted.
    pub deflate: evws_deflate_options,
    /// What each connection is limited to.
    pub limits: evws_limits,
}

/// How a client secures a `wss://` connection. Files are PEM, and a name whose `data` is null is
/// not given.
#[repr(C)]
pub struct evws_client_tls {
    /// Whether the server's certificate is checked.
    pub verify: bool,
    /// Trusted roots, in place of the system's.
    pub ca: evws_bytes,
    /// The client's certificate and the others of its chain.
    pub cert: evws_bytes,
    /// The certificate's key.
    pub key: evws_bytes,
    /// The name that the server is to prove; not given: the URL's.
    pub server_name: evws_bytes,
    /// Protocols for ALPN, the preferred one first.
    pub alpn: evws_strings,
}

/// Whether clients are asked for certificates: one of `EVWS_VERIFY_CLIENT_*`.
pub type evws_verify_client = u32;

/// Clients are not asked for a certificate.
pub const EVWS_VERIFY_CLIENT_NO: evws_verify_client = 0;
/// Clients are asked, and those that have no certificate are accepted.
pub const EVWS_VERIFY_CLIENT_OPTIONAL: evws_verify_client = 1;
/// A client without a certificate is refused.
pub const EVWS_VERIFY_CLIENT_REQUIRED: evws_verify_client = 2;

/// A certificate for clients that ask for a name (SNI). Files are PEM.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_named_certificate {
    /// `example.org`, or `*.example.org` for all names with one more label.
    pub host: evws_bytes,
    /// The certificate and the others of its chain.
    pub cert: evws_bytes,
    /// The certificate's key.
    pub key: evws_bytes,
}

/// A list of certificates. `item` may be null when `count` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_named_certificates {
    /// The first one.
    pub item: *const evws_named_certificate,
    /// How many there are.
    pub count: usize,
}

/// TLS of a listener. Files are PEM, and a name whose `data` is null is not given.
#[repr(C)]
pub struct evws_server_tls {
    /// The server's certificate and the others of its chain; not given: no TLS.
    pub cert: evws_bytes,
    /// The certificate's key.
    pub key: evws_bytes,
    /// Further certificates for the chain.
    pub ca: evws_bytes,
    /// One of `EVWS_VERIFY_CLIENT_*`.
    pub verify_client: evws_verify_client,
    /// The roots that clients' certificates lead to.
    pub client_ca: evws_bytes,
    /// Other certificates, for some of the names that clients ask for.
    pub sni: evws_named_certificates,
    /// Protocols for ALPN, the preferred one first; none: what clients offer is left without an
    /// answer. Otherwise a client that offers others only is refused.
    pub alpn: evws_strings,
}

/// What a client connects with.
#[repr(C)]
pub struct evws_connect_options {
    /// `ws://host[:port][/path][?query]`, `wss://`, or `ws+unix:/path/of.sock[:/path][?query]`
    pub url: evws_bytes,
    /// Seconds from the call to the end of the upgrade; 0 or less: as long as it takes.
    pub connect_timeout: f64,
    /// The connection.
    pub settings: evws_settings,
    /// TLS of `wss://` URLs.
    pub tls: evws_client_tls,
}

/// The options of a server's upgrades.
#[repr(C)]
pub struct evws_upgrade_options {
    /// The connections.
    pub settings: evws_settings,
    /// Whether only some pages may ask for an upgrade. A request without an `Origin` comes from none.
    pub check_origin: bool,
    /// The pages that may: `[scheme://]host[:port]`, `*.host` for what is below a host, `null`, or `same` for the
    /// pages of the host that the request is for.
    pub origins: evws_strings,
    /// Whether requests may be for some hosts only. All others are answered with 421.
    pub check_host: bool,
    /// The hosts that requests may be for: `host[:port]`, or `*.host[:port]` for what is below a host.
    pub hosts: evws_strings,
    /// Whether it is said which proxies are believed about their clients.
    pub check_proxy: bool,
    /// The proxies that are believed, by their headers `X-Forwarded-For` and `Forwarded`, and by the head of the PROXY
    /// protocol: addresses, networks like `10.0.0.0/8`, and `unix` for whoever comes by a Unix socket.
    pub trusted_proxies: evws_strings,
    /// Report `EVWS_EVENT_HANDSHAKE` with `is_foreign` set for all other pages, in place of 403.
    pub ask_origin: bool,
    /// Report `EVWS_EVENT_HANDSHAKE` and wait for its answer.
    pub ask_handshake: bool,
    /// Seconds from the connection to the answer to `EVWS_EVENT_HANDSHAKE`, TLS and the client's request
    /// included; and for a response that the client does not take. 0 or less: as long as it takes.
    pub handshake_timeout: f64,
}

/// Whether clients come with a head of the PROXY protocol, version 1 or 2: one of `EVWS_PROXY_HEAD_*`. With
/// `check_proxy` such a head is believed if it comes from one of `trusted_proxies`, otherwise whoever it comes from.
pub type evws_proxy_heads = u32;

/// Such a head is no request.
pub const EVWS_PROXY_HEAD_NO: evws_proxy_heads = 0;
/// They come with one or without.
pub const EVWS_PROXY_HEAD_OPTIONAL: evws_proxy_heads = 1;
/// Whoever comes without one is dropped.
pub const EVWS_PROXY_HEAD_REQUIRED: evws_proxy_heads = 2;

/// What a listener accepts with.
#[repr(C)]
pub struct evws_listen_options {
    /// 0: any free one.
    pub port: u16,
    /// Addresses or names that have this port on this machine; none: all addresses of both families.
    /// A name that the system has to ask a server for blocks the call.
    pub hosts: evws_strings,
    /// Whether other sockets may be bound to the same port, and connections are spread over them.
    pub reuse_port: bool,
    /// Whether `fd` is to be listened at, in place of a port.
    pub has_fd: bool,
    /// A listening stream socket that somebody else has made. It is duplicated, and becomes
    /// non-blocking.
    pub fd: i32,
    /// How many connections may wait to be accepted, as far as the system allows; 0: as many as it
    /// does. Of no use with `fd`.
    pub backlog: i32,
    /// Where a Unix socket is to be made, in place of a port. `data` is NULL for none.
    pub path: evws_bytes,
    /// The permissions of its file; negative: those that the umask leaves.
    pub mode: i32,
    /// The upgrades that it accepts.
    pub upgrade: evws_upgrade_options,
    /// Report `EVWS_EVENT_REQUEST` and wait for its answer; otherwise whatever is no upgrade is
    /// answered with 426.
    pub serve_requests: bool,
    /// TLS of the listener.
    pub tls: evws_server_tls,
    /// One of `EVWS_PROXY_HEAD_*`.
    pub proxy_heads: evws_proxy_heads,
    /// How many connections there may be, established or under way; beyond, clients get 503. 0: no limit.
    pub max_connections: u32,
    /// How many of them from one address of IPv4, or from one /64 of IPv6; Unix sockets have none. 0: no limit.
    pub max_connections_per_address: u32,
    /// How many may be under way: accepting pauses until some of them are over. 0: no limit.
    pub max_handshakes: u32,
}

/// What a socket is when it is adopted: one of `EVWS_ADOPT_*`.
pub type evws_adopt_kind = u32;

/// A client's, which will send its upgrade request, or the rest of it.
pub const EVWS_ADOPT_CLIENT: evws_adopt_kind = 1;
/// A client's, whose request somebody has read.
pub const EVWS_ADOPT_REQUESTED: evws_adopt_kind = 2;
/// A connection whose upgrade is over; we are the server.
pub const EVWS_ADOPT_AS_SERVER: evws_adopt_kind = 3;
/// A connection whose upgrade is over; we are the client.
pub const EVWS_ADOPT_AS_CLIENT: evws_adopt_kind = 4;

/// A request for an upgrade that somebody has read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_upgrade_request {
    /// Such as `GET`.
    pub method: evws_bytes,
    /// The request target, as it was sent.
    pub target: evws_bytes,
    /// Such as `HTTP/1.1`.
    pub version: evws_bytes,
    /// The request's headers.
    pub headers: evws_headers,
}

/// What a socket is adopted with.
#[repr(C)]
pub struct evws_adopt_options {
    /// A descriptor of the socket, which stays yours.
    pub fd: i32,
    /// What it is.
    pub kind: evws_adopt_kind,
    /// With `EVWS_ADOPT_REQUESTED`: the request.
    pub request: evws_upgrade_request,
    /// What was read from the socket already; with a request: what followed it.
    pub initial_data: evws_bytes,
    /// The upgrade. If it is over: its one subprotocol is the one that was chosen, and there is no
    /// compression.
    pub upgrade: evws_upgrade_options,
}

/// What only you know of the options, for the texts of errors.
#[repr(C)]
pub struct evws_names {
    /// What stands before the names of `evws_client_tls` and `evws_server_tls` in your own; `data` is NULL: files are called
    /// what they are for.
    pub tls_prefix: evws_bytes,
    /// The number that was refused, a close code, a status or one of `deflate`, as you were given it, if it need not have
    /// been one. `data` is NULL: as you gave it.
    pub given: evws_bytes,
}
