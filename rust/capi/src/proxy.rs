//! Which proxy the clients of a context go through.

use std::panic::catch_unwind;

use evws_engine::proxy::rules::{Environment, Rules};
use evws_engine::proxy::{Parts, Proxy, DEFAULT_PORT};
use evws_engine::CallError;

use crate::context::evws_context;
use crate::guard::{call, given, put};
use crate::types::*;

/// Sends every client of the context through one proxy, or through none if `proxy` is empty.
/// `port` is that of a proxy without one; 0: the default. `EVWS_STATUS_INVALID` if it is no proxy;
/// the words want the name of an option before them. The text is copied.
///
/// # Safety
/// `context` is live or null; `proxy` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_context_set_proxy(
    context: *mut evws_context,
    proxy: evws_bytes,
    port: u16,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            let proxy = match proxy.borrow() {
                [] => None,
                text => {
                    Some(Proxy::parse(text, (port != 0).then_some(port)).map_err(CallError::from)?)
                }
            };
            engine.set_proxies(Rules::Given(proxy));
            Ok(())
        })
    }
}

/// Lets the environment decide for each URL of the context. The values are copied; one that holds
/// no proxy is an error of the connections that need it.
///
/// # Safety
/// `context` is live or null; `environment` is null or may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_context_set_proxy_environment(
    context: *mut evws_context,
    environment: *const evws_proxy_environment,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            let environment = given(environment)?;
            engine.set_proxies(Rules::Environment(Environment {
                https_proxy: environment.https_proxy.to_bytes(),
                http_proxy: environment.http_proxy.to_bytes(),
                all_proxy: environment.all_proxy.to_bytes(),
                no_proxy: environment.no_proxy.to_bytes(),
            }));
            Ok(())
        })
    }
}

/// The host in the text of a proxy, `[scheme://][userinfo@]host[:port]`: a part of `text`, without brackets; `data` is NULL if
/// it names no host, or a port that cannot be. Writes the port.
///
/// # Safety
/// `text` may be read; `port` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_proxy_parse(text: evws_bytes, port: *mut u16) -> evws_bytes {
    // SAFETY: as promised above.
    let text = unsafe { text.borrow() };
    let parts = catch_unwind(|| Parts::parse(text)).ok().flatten();
    let host = parts.as_ref().map(|parts| evws_bytes::lend(parts.host));
    // SAFETY: as promised above.
    unsafe { put(parts.map(|parts| parts.port.unwrap_or(DEFAULT_PORT)), port) };
    host.unwrap_or(evws_bytes::NONE)
}
