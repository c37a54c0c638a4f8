//! Making connections and listeners.

use std::rc::Rc;

use evws_engine::{
    AdoptOptions, AdoptedAs, BindAddress, ConnectOptions, DeflateOptions, ListenOptions,
    ProxyHeads, RequestParts, Role, Settings, UpgradeOptions, Wants,
};

use crate::context::evws_context;
use crate::guard::{call, given, Unanswered};
use crate::limits::{limits, time};
use crate::options::*;
use crate::tls::{client_tls, server_tls};
use crate::types::*;

fn deflate(options: &evws_deflate_options) -> Option<DeflateOptions> {
    let bits = |bits: u8| (bits != 0).then_some(bits);
    options.enabled.then(|| DeflateOptions {
        server_no_context_takeover: options.server_no_context_takeover,
        client_no_context_takeover: options.client_no_context_takeover,
        server_max_window_bits: bits(options.server_max_window_bits),
        client_max_window_bits: bits(options.client_max_window_bits),
        threshold: options.threshold,
        level: options.level,
        memory: options.memory,
    })
}

fn settings(options: &evws_settings) -> Settings {
    Settings {
        max_message_size: options.max_message_size,
        validate_utf8: options.validate_utf8,
        wants: Wants {
            drain: options.wants & EVWS_WANT_DRAIN != 0,
            pong: options.wants & EVWS_WANT_PONG != 0,
            message: options.wants & EVWS_WANT_MESSAGE != 0,
            reject: options.wants & EVWS_WANT_REJECT != 0,
            limit: options.wants & EVWS_WANT_LIMIT != 0,
            dropped: options.wants & EVWS_WANT_DROPPED != 0,
        },
        deflate: deflate(&options.deflate),
        limits: Rc::new(limits(&options.limits)),
    }
}

/// # Safety
/// `options` may be read.
unsafe fn upgrade(options: &evws_upgrade_options) -> UpgradeOptions {
    // SAFETY: the caller's promise.
    unsafe {
        UpgradeOptions {
            protocols: options.settings.protocols.to_vec(),
            headers: options.settings.headers.to_vec(),
            origins: options.check_origin.then(|| options.origins.to_vec()),
            hosts: options.check_host.then(|| options.hosts.to_vec()),
            trusted_proxies: options
                .check_proxy
                .then(|| options.trusted_proxies.to_vec()),
            ask_origin: options.ask_origin,
            ask: options.ask_handshake,
            timeout: time(options.handshake_timeout),
            settings: settings(&options.settings),
        }
    }
}

/// # Safety
/// `options` is null or may be read.
unsafe fn connect(options: *const evws_connect_options) -> Result<ConnectOptions, Unanswered> {
    // SAFETY: the caller's promise.
    unsafe {
        let options = given(options)?;
        Ok(ConnectOptions {
            url: options.url.borrow().to_vec(),
            addresses: None,
            protocols: options.settings.protocols.to_vec(),
            headers: options.settings.headers.to_vec(),
            timeout: time(options.connect_timeout),
            tls: client_tls(&options.tls),
            server_name: options.tls.server_name.to_text(),
            settings: settings(&options.settings),
        })
    }
}

/// # Safety
/// `options` is null or may be read.
unsafe fn listen(options: *const evws_listen_options) -> Result<ListenOptions, Unanswered> {
    // SAFETY: the caller's promise.
    unsafe {
        let options = given(options)?;
        Ok(ListenOptions {
            place: match options.path.to_bytes() {
                _ if options.has_fd => BindAddress::Descriptor(options.fd),
                Some(path) => BindAddress::Path {
                    path,
                    mode: u32::try_from(options.mode).ok(),
                },
                None => BindAddress::Port {
                    hosts: options.hosts.to_vec(),
                    port: options.port,
                    reuse_port: options.reuse_port,
                },
            },
            backlog: (options.backlog > 0).then_some(options.backlog),
            upgrade: upgrade(&options.upgrade),
            serve: options.serve_requests,
            tls: server_tls(&options.tls),
            proxy_heads: match options.proxy_heads {
                EVWS_PROXY_HEAD_NO => ProxyHeads::Unknown,
                EVWS_PROXY_HEAD_REQUIRED => ProxyHeads::Required,
                EVWS_PROXY_HEAD_OPTIONAL => ProxyHeads::Optional,
                _ => return Err(Unanswered::Status(EVWS_STATUS_INVALID)),
            },
            max_connections: options.max_connections as usize,
            max_connections_per_address: options.max_connections_per_address as usize,
            max_handshakes: options.max_handshakes as usize,
        })
    }
}

/// # Safety
/// `options` is null or may be read.
unsafe fn adopt(options: *const evws_adopt_options) -> Result<AdoptOptions, Unanswered> {
    // SAFETY: the caller's promise.
    unsafe {
        let options = given(options)?;
        let request = &options.request;
        Ok(AdoptOptions {
            fd: options.fd,
            kind: match options.kind {
                EVWS_ADOPT_CLIENT => AdoptedAs::Client,
                EVWS_ADOPT_REQUESTED => AdoptedAs::Requested(RequestParts {
                    method: request.method.to_text().unwrap_or_default(),
                    target: request.target.to_text().unwrap_or_default(),
                    version: request.version.to_text().unwrap_or_default(),
                    headers: request.headers.to_vec(),
                }),
                EVWS_ADOPT_AS_SERVER => AdoptedAs::Upgraded(Role::Server),
                EVWS_ADOPT_AS_CLIENT => AdoptedAs::Upgraded(Role::Client),
                _ => return Err(Unanswered::Status(EVWS_STATUS_INVALID)),
            },
            initial_data: options.initial_data.borrow().to_vec(),
            upgrade: upgrade(&options.upgrade),
        })
    }
}

/// Begins to connect. The id, under which events will tell what came of it, is written to `id`.
/// `EVWS_STATUS_INVALID` if the URL, a subprotocol, a header, or for `wss://` a file cannot be
/// used. The options are copied; the files are read at once, by the first that name them.
///
/// # Safety
/// `context` is live or null; `options` is null or may be read; `id` is null or may
/// be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_connect(
    context: *mut evws_context,
    options: *const evws_connect_options,
    id: *mut u64,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(id), |engine| {
            Ok(engine.connect(connect(options)?)?)
        })
    }
}

/// Listens at a descriptor, at a path, or at a port: the first of these that the options have.
/// Writes the listener's id, which connection events carry and which is no token; `evws_listener_describe` has its port.
/// `EVWS_STATUS_INVALID` if a subprotocol, a header, a host or a file cannot be used,
/// `EVWS_STATUS_SYSTEM` if the place cannot be bound. The options are copied, the files read at once.
/// The descriptor stays the caller's.
///
/// # Safety
/// `context` is live or null; `options` is null or may be read; `listener` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_listen(
    context: *mut evws_context,
    options: *const evws_listen_options,
    listener: *mut u64,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(listener), |engine| {
            let (id, _) = engine.listen(listen(options)?)?;
            Ok(id)
        })
    }
}

/// Whether `evws_adopt` would refuse these options, whatever the descriptor: `EVWS_STATUS_INVALID`
/// for a subprotocol or a header that cannot be used, or a request that is no acceptable upgrade. For
/// callers that cannot give back the descriptor once they have it.
///
/// # Safety
/// `context` is live or null; `options` is null or may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_adopt_check(
    context: *mut evws_context,
    options: *const evws_adopt_options,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe { call(context, None, |_| Ok(adopt(options)?.check()?)) }
}

/// Takes over a connected stream socket. The id, under which events will tell what came of it, is
/// written to `id`. The descriptor stays yours: the library works with a duplicate, and when the
/// connection ends it shuts the socket down for both. From a call that succeeds on the socket is
/// non-blocking, for both too; nobody else must read or write it. `EVWS_STATUS_INVALID` if a
/// subprotocol or a header cannot be used, or the request is no acceptable upgrade,
/// `EVWS_STATUS_SYSTEM` if the descriptor is no connected stream socket: nothing was read, written
/// or changed then. The options are copied.
///
/// # Safety
/// `context` is live or null; `options` is null or may be read; `id` is null or may
/// be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_adopt(
    context: *mut evws_context,
    options: *const evws_adopt_options,
    id: *mut u64,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, Some(id), |engine| {
            Ok(engine.adopt(adopt(options)?)?)
        })
    }
}
