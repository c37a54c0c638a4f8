//! Which proxy the clients of a context go through.

use std::panic::catch_unwind;

use evws_engine::proxy::rules::{Environment, Rules};
use evws_engine::proxy::{Parts, Proxy, DEFAULT_PORT};
use evws_engine::CallError;

use crate::context::evws_context;
use crate::guard::guard;
use crate::types::*;

/// Sends every client of the context through one proxy, or through none if `proxy` is empty.
/// `port` is that of a proxy without one; 0: the default. `EVWS_STATUS_INVALID` if it is no proxy;
/// the words want the name of an option before them. The text is copied.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `proxy` is valid.
#[no_mangle]
pub unsafe extern "C" fn evws_context_set_proxy(
    context: *mut evws_context,
    proxy: evws_bytes,
    port: u16,
) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let text = unsafe { proxy.borrow() };
        let given = match text {
            [] => None,
            text => match Proxy::parse(text, (port != 0).then_some(port)) {
                Ok(proxy) => Some(proxy),
                Err(error) => return context.refuse(CallError::Invalid(error.to_string())),
            },
        };
        context.engine.set_proxies(Rules::Given(given));
        EVWS_STATUS_OK
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Lets the environment decide for each URL of the context. The values are copied; one that holds
/// no proxy is an error of the connections that need it.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `environment` is null or
/// valid with all that it points to.
#[no_mangle]
pub unsafe extern "C" fn evws_context_set_proxy_environment(
    context: *mut evws_context,
    environment: *const evws_proxy_environment,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(environment) = (unsafe { environment.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let value =
            |bytes: evws_bytes| (!bytes.data.is_null()).then(|| unsafe { bytes.borrow() }.to_vec());
        context.engine.set_proxies(Rules::Environment(Environment {
            https_proxy: value(environment.https_proxy),
            http_proxy: value(environment.http_proxy),
            all_proxy: value(environment.all_proxy),
            no_proxy: value(environment.no_proxy),
        }));
        EVWS_STATUS_OK
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Finds host and port in the text of a proxy: `[scheme://][userinfo@]host[:port]`. `host` is a
/// part of `text`, without brackets. `EVWS_STATUS_INVALID` if it names no host, or a port that
/// cannot be.
///
/// # Safety
/// `text` is valid; `host` and `port` are null or point to places for the results.
#[no_mangle]
pub unsafe extern "C" fn evws_proxy_parse(
    text: evws_bytes,
    host: *mut evws_bytes,
    port: *mut u16,
) -> evws_status {
    if host.is_null() || port.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { text.borrow() };
    let Ok(Some(parts)) = catch_unwind(|| Parts::parse(text)) else {
        return EVWS_STATUS_INVALID;
    };
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe {
        host.write(evws_bytes::lend(parts.host));
        port.write(parts.port.unwrap_or(DEFAULT_PORT));
    }
    EVWS_STATUS_OK
}
