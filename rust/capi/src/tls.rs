//! TLS: options on their way in, reading files again, and what was agreed on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use evws_engine::{ClientTls, NamedCertificate, ServerTls, VerifyClient};

use crate::context::evws_context;
use crate::guard::{guard, guard_read};
use crate::open::strings;
use crate::options::*;
use crate::types::*;

/// # Safety
/// `name` is valid for the call, or its data is null.
unsafe fn file(name: evws_bytes) -> Option<PathBuf> {
    // SAFETY: the caller's promise.
    (!name.data.is_null()).then(|| OsStr::from_bytes(unsafe { name.borrow() }).into())
}

/// # Safety
/// All that `tls` points to is valid for the call, or null.
pub(crate) unsafe fn client_tls(tls: &evws_client_tls) -> ClientTls {
    // SAFETY: the caller's promise.
    unsafe {
        ClientTls {
            verify: tls.verify,
            ca: file(tls.ca),
            cert: file(tls.cert),
            key: file(tls.key),
            alpn: strings(tls.alpn, tls.alpn_count),
        }
    }
}

/// # Safety
/// All that `one` points to is valid for the call.
unsafe fn named_certificate(one: &evws_named_certificate) -> NamedCertificate {
    // SAFETY: the caller's promise.
    unsafe {
        NamedCertificate {
            host: String::from_utf8_lossy(one.host.borrow()).into_owned(),
            cert: file(one.cert).unwrap_or_default(),
            key: file(one.key).unwrap_or_default(),
        }
    }
}

/// # Safety
/// All that `tls` points to is valid for the call, or null.
pub(crate) unsafe fn server_tls(tls: &evws_server_tls) -> Option<ServerTls> {
    // SAFETY: the caller's promise.
    unsafe {
        Some(ServerTls {
            cert: file(tls.cert)?,
            key: file(tls.key).unwrap_or_default(),
            ca: file(tls.ca),
            verify_client: match tls.verify_client {
                EVWS_VERIFY_CLIENT_NO => VerifyClient::No,
                EVWS_VERIFY_CLIENT_OPTIONAL => VerifyClient::Optional,
                _ => VerifyClient::Required,
            },
            client_ca: file(tls.client_ca),
            sni: slice_or_empty(tls.sni, tls.sni_count)
                .iter()
                .map(|one| named_certificate(one))
                .collect(),
            alpn: strings(tls.alpn, tls.alpn_count),
        })
    }
}

/// Reads the files of listeners again, for the connections that come from now on.
/// `EVWS_STATUS_INVALID` if one of them has no TLS, or a file cannot be used; then all of them stay
/// as they were.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `listeners` points to `count`
/// tokens that are valid for the call, or is null.
#[no_mangle]
pub unsafe extern "C" fn evws_reload_tls(
    context: *mut evws_context,
    listeners: *const u64,
    count: usize,
) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    // SAFETY: the caller's promise.
    let listeners = unsafe { slice_or_empty(listeners, count) };
    let work = |context: &mut evws_context| match context.engine.reload_tls(listeners) {
        Ok(()) => EVWS_STATUS_OK,
        Err(error) => context.refuse(error),
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Writes what the TLS of a connection has agreed on, also of one whose request waits for an answer,
/// lent until the next call on the context. Returns false if it has none, or is not connected.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to
/// a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_tls(
    context: *const evws_context,
    id: u64,
    out: *mut evws_tls_info,
) -> bool {
    if out.is_null() {
        return false;
    }
    let lend = |bytes: Option<&[u8]>| bytes.map_or(evws_bytes::NONE, evws_bytes::lend);
    let work = |context: &evws_context| {
        let info = context.engine.tls(id)?;
        Some(evws_tls_info {
            version: evws_bytes::lend(info.version.as_bytes()),
            cipher: evws_bytes::lend(info.cipher.as_bytes()),
            alpn: lend(info.alpn),
            server_name: lend(info.server_name.map(str::as_bytes)),
            certificate: lend(info.certificate),
            verified: info.verified,
            resumed: info.resumed,
        })
    };
    // SAFETY: the caller's promise.
    let Some(info) = (unsafe { guard_read(context, None, work) }) else {
        return false;
    };
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { out.write(info) };
    true
}
