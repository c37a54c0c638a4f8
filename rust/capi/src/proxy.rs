//! Which proxy the clients of a context go through.

use std::panic::catch_unwind;

use evws_engine::proxy::rules::{Environment, Rules};
use evws_engine::proxy::{Parts, Proxy, DEFAULT_PORT};
use evws_engine::CallError;

use crate::context::evws_context;
use crate::guard::{call, given, Out};
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
        call(context, (), |engine| {
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
        call(context, (), |engine| {
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

/// Finds host and port in the text of a proxy: `[scheme://][userinfo@]host[:port]`. `host` is a
/// part of `text`, without brackets. `EVWS_STATUS_INVALID` if it names no host, or a port that
/// cannot be.
///
/// # Safety
/// `text` may be read; `host` and `port` are null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_proxy_parse(
    text: evws_bytes,
    host: *mut evws_bytes,
    port: *mut u16,
) -> evws_status {
    let out = (host, port);
    if !out.is_there() {
        return EVWS_STATUS_NULL_POINTER;
    }
    // SAFETY: as promised above.
    let text = unsafe { text.borrow() };
    let Ok(Some(parts)) = catch_unwind(|| Parts::parse(text)) else {
        return EVWS_STATUS_INVALID;
    };
    // SAFETY: not null, and as promised above.
    unsafe {
        Out::write(
            out,
            (
                evws_bytes::lend(parts.host.as_bytes()),
                parts.port.unwrap_or(DEFAULT_PORT),
            ),
        )
    };
    EVWS_STATUS_OK
}
