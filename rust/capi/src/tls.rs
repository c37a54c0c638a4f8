//! TLS: options on their way in, reading files again, and what was agreed on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use evws_engine::{ClientTls, Context, NamedCertificate, ServerTls, VerifyClient};

use crate::context::evws_context;
use crate::guard::{ask, call, put};
use crate::options::*;
use crate::types::*;

/// # Safety
/// `name` may be read.
unsafe fn file(name: evws_bytes) -> Option<PathBuf> {
    // SAFETY: the caller's promise.
    (!name.data.is_null()).then(|| OsStr::from_bytes(unsafe { name.borrow() }).into())
}

/// # Safety
/// `tls` may be read.
pub(crate) unsafe fn client_tls(tls: &evws_client_tls) -> ClientTls {
    // SAFETY: the caller's promise.
    unsafe {
        ClientTls {
            verify: tls.verify,
            ca: file(tls.ca),
            cert: file(tls.cert),
            key: file(tls.key),
            alpn: tls.alpn.to_octets(),
        }
    }
}

/// # Safety
/// `tls` may be read.
pub(crate) unsafe fn server_tls(tls: &evws_server_tls) -> Option<ServerTls> {
    // SAFETY: the caller's promise.
    unsafe {
        let named = |one: &evws_named_certificate| NamedCertificate {
            host: one.host.to_text().unwrap_or_default(),
            cert: file(one.cert).unwrap_or_default(),
            key: file(one.key).unwrap_or_default(),
        };
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
            sni: slice_or_empty(tls.sni.item, tls.sni.count)
                .iter()
                .map(named)
                .collect(),
            alpn: tls.alpn.to_octets(),
        })
    }
}

/// Reads the files of listeners again, for the connections that come from now on.
/// `EVWS_STATUS_INVALID` if one of them has no TLS, or a file cannot be used; then all of them stay
/// as they were.
///
/// # Safety
/// `context` is live or null; `listeners` is null or has `count` ids that may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_reload_tls(
    context: *mut evws_context,
    listeners: *const u64,
    count: usize,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        let listeners = slice_or_empty(listeners, count);
        call(context, None, |engine| Ok(engine.reload_tls(listeners)?))
    }
}

/// Writes what the TLS of a connection has agreed on, also of one whose request waits for an answer,
/// lent until the next call on the context. Returns false if it has none, or is not connected.
///
/// # Safety
/// `context` is live or null; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_tls(
    context: *const evws_context,
    id: u64,
    out: *mut evws_tls_info,
) -> bool {
    let lend = |bytes: Option<&[u8]>| bytes.map_or(evws_bytes::NONE, evws_bytes::lend);
    let work = |engine: &Context| {
        let info = engine.tls(id)?;
        Some(evws_tls_info {
            version: evws_bytes::lend(info.version),
            cipher: evws_bytes::lend(info.cipher),
            alpn: lend(info.alpn),
            server_name: lend(info.server_name.map(str::as_bytes)),
            certificate: lend(info.certificate),
            verified: info.verified,
            resumed: info.resumed,
        })
    };
    // SAFETY: as promised above.
    unsafe { put(ask(context, work), out) }
}
