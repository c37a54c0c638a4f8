//! Making connections and listeners.

use std::time::Duration;

use evws_engine::{
    BindAddress, CallError, ConnectOptions, DeflateOptions, ListenOptions, Settings,
    UpgradeOptions, Wants,
};

use crate::context::evws_context;
use crate::guard::guard;
use crate::options::*;
use crate::tls::{client_tls, server_tls};
use crate::types::*;

pub(crate) fn wants(bits: u32) -> Wants {
    Wants {
        drain: bits & EVWS_WANT_DRAIN != 0,
        pong: bits & EVWS_WANT_PONG != 0,
        message: bits & EVWS_WANT_MESSAGE != 0,
    }
}

pub(crate) fn deflate(options: &evws_deflate_options) -> Option<DeflateOptions> {
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

/// # Safety
/// `list` points to `count` strings that are valid for the call, or is null.
pub(crate) unsafe fn strings(list: *const evws_bytes, count: usize) -> Vec<String> {
    // SAFETY: the caller's promise, for the list and for each string.
    let bytes = unsafe { slice_or_empty(list, count) }
        .iter()
        .map(|item| unsafe { item.borrow() });
    // Whatever is not UTF-8 is not a token either, and is refused as such.
    bytes
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

/// # Safety
/// `list` points to `count` headers that are valid for the call, or is null.
pub(crate) unsafe fn headers(list: *const evws_header, count: usize) -> Vec<(String, Vec<u8>)> {
    // SAFETY: the caller's promise.
    let list = unsafe { slice_or_empty(list, count) };
    let convert = |header: &evws_header| {
        // SAFETY: the caller's promise covers each name and value.
        let (name, value) = unsafe { (header.name.borrow(), header.value.borrow()) };
        (String::from_utf8_lossy(name).into_owned(), value.to_vec())
    };
    list.iter().map(convert).collect()
}

/// # Safety
/// All that `options` points to is valid for the call, or null.
unsafe fn place(options: &evws_listen_options) -> BindAddress {
    if options.has_fd {
        return BindAddress::Descriptor(options.fd);
    }
    if !options.path.data.is_null() {
        return BindAddress::Path {
            // SAFETY: the caller's promise.
            path: unsafe { options.path.borrow() }.to_vec(),
            mode: u32::try_from(options.mode).ok(),
        };
    }
    BindAddress::Port {
        // SAFETY: the caller's promise.
        hosts: unsafe { strings(options.hosts, options.host_count) },
        port: options.port,
        reuse_port: options.reuse_port,
    }
}

/// Seconds as a deadline. Not a number, negative, none at all, beyond all time: none of them is one. What is less than
/// the clock can tell is not nothing.
pub(crate) fn timeout(seconds: f64) -> Option<Duration> {
    let timeout = Duration::try_from_secs_f64(seconds).ok()?;
    (seconds > 0.0).then(|| timeout.max(Duration::from_nanos(1)))
}

/// # Safety
/// All that `options` points to is valid for the call, or null.
pub(crate) unsafe fn upgrade(options: &evws_upgrade_options) -> UpgradeOptions {
    // SAFETY: the caller's promise.
    let (protocols, headers, origins, hosts) = unsafe {
        (
            strings(options.protocols, options.protocol_count),
            headers(options.headers, options.header_count),
            strings(options.origins, options.origin_count),
            strings(options.allowed_hosts, options.allowed_host_count),
        )
    };
    UpgradeOptions {
        protocols,
        headers,
        origins: options.check_origin.then_some(origins),
        hosts: options.check_host.then_some(hosts),
        ask_origin: options.ask_origin,
        ask: options.ask_handshake,
        timeout: timeout(options.handshake_timeout),
        settings: Settings {
            max_message_size: options.max_message_size,
            validate_utf8: options.validate_utf8,
            wants: wants(options.wants),
            deflate: deflate(&options.deflate),
        },
    }
}

/// Begins to connect. The id, under which events will tell what came of it, is written to `id`.
/// `EVWS_STATUS_INVALID` if the URL, a subprotocol, a header, or for `wss://` a file cannot be
/// used. The options are copied; the files are read at once, by the first that name them.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `options` is null or
/// valid with all that it points to; `id` is null or points to a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_connect(
    context: *mut evws_context,
    options: *const evws_connect_options,
    id: *mut u64,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(options) = (unsafe { options.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() || id.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        let server_name = options.tls.server_name;
        // SAFETY: the caller's promise.
        let (url, protocols, headers, tls, server_name) = unsafe {
            (
                options.url.borrow().to_vec(),
                strings(options.protocols, options.protocol_count),
                headers(options.headers, options.header_count),
                client_tls(&options.tls),
                (!server_name.data.is_null())
                    .then(|| String::from_utf8_lossy(server_name.borrow()).into_owned()),
            )
        };
        let connect = ConnectOptions {
            url,
            addresses: None,
            protocols,
            headers,
            timeout: timeout(options.connect_timeout),
            tls,
            server_name,
            settings: Settings {
                max_message_size: options.max_message_size,
                validate_utf8: options.validate_utf8,
                wants: wants(options.wants),
                deflate: deflate(&options.deflate),
            },
        };
        match context.engine.connect(connect) {
            Ok(new) => {
                // SAFETY: not null, and the caller vouches for the rest.
                unsafe { id.write(new) };
                EVWS_STATUS_OK
            }
            Err(error) => context.refuse(error),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Listens at a descriptor, at a path, or at a port: the first of these that the options have.
/// Writes the listener's id, which connection events carry and which is no token, and its port, 0 if
/// it has none. `EVWS_STATUS_INVALID` if a subprotocol, a header, a host or a file cannot be used,
/// `EVWS_STATUS_SYSTEM` if the place cannot be bound. The options are copied, the files read at once.
/// The descriptor stays the caller's.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `options` is null or valid
/// with all that it points to; `listener` and `port` are null or point to places for the results.
#[no_mangle]
pub unsafe extern "C" fn evws_listen(
    context: *mut evws_context,
    options: *const evws_listen_options,
    listener: *mut u64,
    port: *mut u16,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(options) = (unsafe { options.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() || listener.is_null() || port.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let (place, upgrade, tls) = unsafe {
            (
                place(options),
                upgrade(&options.upgrade),
                server_tls(&options.tls),
            )
        };
        let listen = ListenOptions {
            place,
            backlog: (options.backlog > 0).then_some(options.backlog),
            upgrade,
            serve: options.serve_requests,
            tls,
        };
        match context.engine.listen(listen) {
            Ok((new, bound)) => {
                // SAFETY: not null, and the caller vouches for the rest.
                unsafe {
                    listener.write(new);
                    port.write(bound);
                }
                EVWS_STATUS_OK
            }
            Err(error) => context.refuse(error),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Checks a close code before it is used. `EVWS_STATUS_INVALID` if RFC 6455 section 7.4 does not
/// let an endpoint send it.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_close_code_check(
    context: *mut evws_context,
    code: i64,
) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| match evws_engine::check_code(code) {
        Ok(_) => EVWS_STATUS_OK,
        Err(error) => context.refuse(CallError::Invalid(error.to_string())),
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}
