//! The values that cross the interface.

use std::ptr;
use std::slice;

/// Bytes that someone else owns. `data` may be null when `length` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub length: usize,
}

impl evws_bytes {
    /// No bytes.
    pub(crate) const NONE: evws_bytes = evws_bytes {
        data: ptr::null(),
        length: 0,
    };

    pub(crate) fn lend<T: AsRef<[u8]> + ?Sized>(bytes: &T) -> Self {
        let bytes = bytes.as_ref();
        evws_bytes {
            data: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// # Safety
    /// `data` is null, or has `length` bytes that stay as they are while the result is used.
    pub(crate) unsafe fn borrow<'a>(self) -> &'a [u8] {
        // SAFETY: passed on to the caller.
        unsafe { slice_or_empty(self.data, self.length) }
    }

    /// A copy of the bytes; `None` if they are not given.
    ///
    /// # Safety
    /// What [`borrow`](Self::borrow) asks for.
    pub(crate) unsafe fn to_bytes(self) -> Option<Vec<u8>> {
        // SAFETY: the caller's promise.
        (!self.data.is_null()).then(|| unsafe { self.borrow() }.to_vec())
    }

    /// A copy of the bytes as text. Bytes that are not UTF-8 are no token, no name and no target either, and are refused
    /// as such.
    ///
    /// # Safety
    /// What [`borrow`](Self::borrow) asks for.
    pub(crate) unsafe fn to_text(self) -> Option<String> {
        // SAFETY: the caller's promise.
        (!self.data.is_null())
            .then(|| String::from_utf8_lossy(unsafe { self.borrow() }).into_owned())
    }
}

/// # Safety
/// `data` points to `length` items that stay as they are while the result is used, or is null.
pub(crate) unsafe fn slice_or_empty<'a, T>(data: *const T, length: usize) -> &'a [T] {
    if data.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { slice::from_raw_parts(data, length) }
}

/// A header of a request or response.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_header {
    /// The name, as it is to be sent, or in canonical capitals.
    pub name: evws_bytes,
    /// The value.
    pub value: evws_bytes,
}

/// A list of strings. `item` may be null when `count` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_strings {
    /// The first one.
    pub item: *const evws_bytes,
    /// How many there are.
    pub count: usize,
}

impl evws_strings {
    /// No strings.
    pub(crate) const NONE: evws_strings = evws_strings {
        item: ptr::null(),
        count: 0,
    };

    pub(crate) fn lend(strings: &[evws_bytes]) -> Self {
        evws_strings {
            item: strings.as_ptr(),
            count: strings.len(),
        }
    }

    /// # Safety
    /// The list may be read.
    pub(crate) unsafe fn to_vec(self) -> Vec<String> {
        // SAFETY: the caller's promise, for the list and for each string.
        unsafe {
            let text = |item: &evws_bytes| item.to_text().unwrap_or_default();
            slice_or_empty(self.item, self.count)
                .iter()
                .map(text)
                .collect()
        }
    }

    /// # Safety
    /// The list may be read.
    pub(crate) unsafe fn to_octets(self) -> Vec<Vec<u8>> {
        // SAFETY: the caller's promise, for the list and for each string.
        unsafe {
            let octets = |item: &evws_bytes| item.to_bytes().unwrap_or_default();
            slice_or_empty(self.item, self.count)
                .iter()
                .map(octets)
                .collect()
        }
    }
}

/// A list of headers. `item` may be null when `count` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_headers {
    /// The first one.
    pub item: *const evws_header,
    /// How many there are.
    pub count: usize,
}

impl evws_headers {
    /// # Safety
    /// The list may be read.
    pub(crate) unsafe fn to_vec(self) -> Vec<(String, Vec<u8>)> {
        // SAFETY: the caller's promise, for the list and for each name and value.
        unsafe {
            let list = slice_or_empty(self.item, self.count);
            let header = |one: &evws_header| {
                (
                    one.name.to_text().unwrap_or_default(),
                    one.value.borrow().to_vec(),
                )
            };
            list.iter().map(header).collect()
        }
    }
}

/// How a call ended: one of `EVWS_STATUS_*`.
pub type evws_status = u32;

/// The call has succeeded.
pub const EVWS_STATUS_OK: evws_status = 0;
/// An argument that must not be NULL was.
pub const EVWS_STATUS_NULL_POINTER: evws_status = 1;
/// The id names nothing any more.
pub const EVWS_STATUS_STALE: evws_status = 2;
/// The connection is connecting, closing or closed.
pub const EVWS_STATUS_NOT_OPEN: evws_status = 3;
/// A fragmented message is in progress.
pub const EVWS_STATUS_FRAGMENT_OPEN: evws_status = 4;
/// An argument cannot be used; `evws_error_text` says which and why.
pub const EVWS_STATUS_INVALID: evws_status = 5;
/// The system refused; `evws_error_text` says why.
pub const EVWS_STATUS_SYSTEM: evws_status = 6;
/// A bug was caught: nothing but `evws_context_free` may follow.
pub const EVWS_STATUS_PANICKED: evws_status = 7;
/// There is no memory for the frame. Nothing was queued, and the connection has not changed.
pub const EVWS_STATUS_NO_MEMORY: evws_status = 8;
/// The send queue has no room, and is as it was.
pub const EVWS_STATUS_QUEUE_FULL: evws_status = 9;
/// The send queue has no room: the message was dropped, or the connection has failed.
pub const EVWS_STATUS_DROPPED: evws_status = 10;

/// What was wrong about a call, for a caller that says it in its own way: one of `EVWS_ERROR_*`.
pub type evws_error_kind = u32;

/// What the text says.
pub const EVWS_ERROR_OTHER: evws_error_kind = 0;
/// The URL has another scheme, or none.
pub const EVWS_ERROR_URL_SCHEME: evws_error_kind = 1;
/// The certificate that a listener shows to everybody, or its key.
pub const EVWS_ERROR_CERTIFICATE: evws_error_kind = 2;
/// A socket that was to be adopted, or the request that it has brought with it.
pub const EVWS_ERROR_ADOPTED: evws_error_kind = 3;
/// A bug was caught.
pub const EVWS_ERROR_BUG: evws_error_kind = 4;
/// `server_max_window_bits` is out of its range.
pub const EVWS_ERROR_SERVER_MAX_WINDOW_BITS: evws_error_kind = 5;
/// `client_max_window_bits` is out of its range.
pub const EVWS_ERROR_CLIENT_MAX_WINDOW_BITS: evws_error_kind = 6;
/// `level` is out of its range.
pub const EVWS_ERROR_LEVEL: evws_error_kind = 7;
/// One of `origins`.
pub const EVWS_ERROR_ORIGINS: evws_error_kind = 8;
/// One of the `hosts` of `evws_upgrade_options`.
pub const EVWS_ERROR_HOSTS: evws_error_kind = 9;
/// One of `trusted_proxies`.
pub const EVWS_ERROR_TRUSTED_PROXIES: evws_error_kind = 10;

/// Report `EVWS_EVENT_DRAIN`.
pub const EVWS_WANT_DRAIN: u32 = 1;
/// Report `EVWS_EVENT_PONG`.
pub const EVWS_WANT_PONG: u32 = 2;
/// Report `EVWS_EVENT_MESSAGE`. Without it, messages are checked and dropped.
pub const EVWS_WANT_MESSAGE: u32 = 4;
/// Report `EVWS_EVENT_REJECTED`. Counts for listeners alone.
pub const EVWS_WANT_REJECT: u32 = 8;
/// Report `EVWS_EVENT_RATE_LIMITED`.
pub const EVWS_WANT_LIMIT: u32 = 16;
/// Report `EVWS_EVENT_DROPPED`.
pub const EVWS_WANT_DROPPED: u32 = 32;

/// What an event is: one of `EVWS_EVENT_*`.
pub type evws_event_kind = u32;

/// There is no event.
pub const EVWS_EVENT_NONE: evws_event_kind = 0;
/// A request for an upgrade: headers, listener, is_foreign. `evws_handshake_accept` or
/// `evws_handshake_reject` answers it, now or later.
pub const EVWS_EVENT_HANDSHAKE: evws_event_kind = 1;
/// The upgrade is done: headers, listener.
pub const EVWS_EVENT_CONNECT: evws_event_kind = 2;
/// A whole message: payload, is_binary.
pub const EVWS_EVENT_MESSAGE: evws_event_kind = 3;
/// A Pong frame: payload.
pub const EVWS_EVENT_PONG: evws_event_kind = 4;
/// The send queue has become empty.
pub const EVWS_EVENT_DRAIN: evws_event_kind = 5;
/// The connection failed: the payload says why. `EVWS_EVENT_CLOSE` follows.
pub const EVWS_EVENT_ERROR: evws_event_kind = 6;
/// A connection could not be made: the payload says why. The id is stale. If the server has answered, and refused the
/// upgrade, `evws_event_refusal` has its response, but for the headers, which the event has.
pub const EVWS_EVENT_CONNECT_FAILED: evws_event_kind = 7;
/// The connection has ended: code, and the reason as payload. The id is stale.
pub const EVWS_EVENT_CLOSE: evws_event_kind = 8;
/// A request that is no upgrade: `evws_event_request`, headers, the body as payload, listener.
/// `evws_request_answer` answers it, now or later.
pub const EVWS_EVENT_REQUEST: evws_event_kind = 9;
/// A listener that was stopped is named by no further event: listener. Its id is stale.
pub const EVWS_EVENT_LISTENER_ENDED: evws_event_kind = 10;
/// A shutdown is over, and there are no connections any more: cut.
pub const EVWS_EVENT_SHUT_DOWN: evws_event_kind = 11;
/// A client of a listener has gone after it was accepted and before `EVWS_EVENT_CONNECT`, which
/// will not come. The id is stale.
pub const EVWS_EVENT_HANDSHAKE_ENDED: evws_event_kind = 12;
/// A client of a listener did not become a connection, and no `EVWS_EVENT_REQUEST` of it was answered last: the payload
/// says why, headers, listener. `evws_peer_address` knows its address until the next event is polled. The id is stale, or
/// will be soon.
pub const EVWS_EVENT_REJECTED: evws_event_kind = 13;
/// The peer has sent more than it may, and is not read from for a while: code, one of `EVWS_RATE_*`. Once a
/// connection, for the first such pause.
pub const EVWS_EVENT_RATE_LIMITED: evws_event_kind = 14;
/// Published messages were dropped because the connection is too slow for them: cut, how many since the last such event.
pub const EVWS_EVENT_DROPPED: evws_event_kind = 15;
/// A topic, whose name is the payload, has got its first subscriber (code 1) or has lost its last one (code 0).
pub const EVWS_EVENT_TOPIC_USED: evws_event_kind = 16;

/// The peer is beyond `max_message_rate`.
pub const EVWS_RATE_MESSAGES: u16 = 1;
/// The peer is beyond `max_byte_rate`.
pub const EVWS_RATE_BYTES: u16 = 2;

/// What happened.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_event {
    /// Which of the others have a meaning.
    pub kind: evws_event_kind,
    /// A close code, 1005 and 1006 included; or one of `EVWS_RATE_*`; or whether a topic is used.
    pub code: u16,
    /// Whether a message is binary.
    pub is_binary: bool,
    /// Whether a request for an upgrade has an `Origin` that is not among those of its listener.
    pub is_foreign: bool,
    /// The connection.
    pub id: u64,
    /// The listener that it came in at; 0 for a client, and for one that was adopted.
    pub listener: u64,
    /// Lent until the next call on the context.
    pub payload: evws_bytes,
    /// How many headers `evws_event_header` has.
    pub header_count: usize,
    /// How many connections a shutdown has cut because their peers did not close in time, or how many messages were dropped.
    pub cut: usize,
}

/// Watch for reading.
pub const EVWS_WATCH_READ: u32 = 1;
/// Watch for writing.
pub const EVWS_WATCH_WRITE: u32 = 2;
/// Watch for nothing at the moment, but keep the loop alive.
pub const EVWS_WATCH_KEEP: u32 = 8;

/// What a descriptor is to be watched for from now on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_watch {
    /// What readiness is to be reported for. Its low 32 bits are a small index, one for each
    /// token in use.
    pub token: u64,
    /// The descriptor. It stays open until the next call of `evws_poll_watch`.
    pub fd: i32,
    /// Bits of `EVWS_WATCH_*`; 0: stop watching before the next call of `evws_poll_watch`, and
    /// forget the token.
    pub events: u32,
}

/// What a line of the log is about: one of `EVWS_LOG_*`.
pub type evws_log_topic = u32;

/// A change of state.
pub const EVWS_LOG_STATE: evws_log_topic = 1;
/// A timer was started, moved or stopped, or has run out.
pub const EVWS_LOG_TIMER: evws_log_topic = 2;
/// The header of a frame, received or sent.
pub const EVWS_LOG_FRAME: evws_log_topic = 3;
/// A step on the way to a connection: a name, an attempt, TLS, the lines of a head.
pub const EVWS_LOG_HANDSHAKE: evws_log_topic = 4;
/// An error, with its text.
pub const EVWS_LOG_ERROR: evws_log_topic = 5;
/// A descriptor, and what it is watched for.
pub const EVWS_LOG_DESCRIPTOR: evws_log_topic = 6;

/// A line of the log.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_log_line {
    /// One of `EVWS_LOG_*`.
    pub topic: evws_log_topic,
    /// The connection, the listener or another source; 0: the context.
    pub id: u64,
    /// What happened, in printable ASCII. Lent until the next call on the context.
    pub text: evws_bytes,
}

/// What is sent: one of `EVWS_SEND_*`.
pub type evws_send_kind = u32;

/// A text message.
pub const EVWS_SEND_TEXT: evws_send_kind = 1;
/// A binary message.
pub const EVWS_SEND_BINARY: evws_send_kind = 2;
/// A Ping frame; the payload is cut to 125 bytes.
pub const EVWS_SEND_PING: evws_send_kind = 3;
/// A Pong frame; the payload is cut to 125 bytes.
pub const EVWS_SEND_PONG: evws_send_kind = 4;

/// Where a connection stands: one of `EVWS_STATE_*`.
pub type evws_state_kind = u32;

/// On its way.
pub const EVWS_STATE_CONNECTING: evws_state_kind = 1;
/// Open in both directions.
pub const EVWS_STATE_CONNECTED: evws_state_kind = 2;
/// A Close frame was sent, or the connection has failed and its close was not polled yet.
pub const EVWS_STATE_CLOSING: evws_state_kind = 3;
/// Ended; also every stale id.
pub const EVWS_STATE_CLOSED: evws_state_kind = 4;

/// What the TLS of a connection has agreed on. What it points to is lent until the next call on the
/// context, and `data` is null for what there is none of.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_tls_info {
    /// `TLSv1.3` or `TLSv1.2`
    pub version: evws_bytes,
    /// The cipher suite, by the name that IANA has for it.
    pub cipher: evws_bytes,
    /// The protocol that ALPN chose.
    pub alpn: evws_bytes,
    /// The name that the client asked for, or was to be shown a certificate of.
    pub server_name: evws_bytes,
    /// The peer's own certificate, as DER.
    pub certificate: evws_bytes,
    /// Whether that leads to a trusted root, and is valid for the name if it is a server's.
    pub verified: bool,
    /// Whether the session goes on with what an earlier one agreed on.
    pub resumed: bool,
}

/// What is known of a listener. What it lends is valid until the next call on the context.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_listener_info {
    /// 0: it has none.
    pub port: u16,
    /// Whether its connections are secured by TLS.
    pub is_secure: bool,
    /// The absolute path of a Unix socket, an abstract one with a NUL before it; `data` is NULL for
    /// none.
    pub path: evws_bytes,
    /// How many addresses `evws_listener_host` has.
    pub host_count: usize,
}

/// A response that has refused a client its upgrade.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_refusal {
    /// The status.
    pub status: u32,
    /// The body, as much of it as came soon, and up to 16 KiB. Lent until the next call on the context.
    pub body: evws_bytes,
}

/// A request that is no upgrade.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_request {
    /// The method, as it was sent.
    pub method: evws_bytes,
    /// The request target, as it was sent.
    pub target: evws_bytes,
    /// `HTTP/1.1` or `HTTP/1.0`
    pub version: evws_bytes,
    /// Whether it came by TLS.
    pub is_secure: bool,
}

/// A response that is no upgrade.
#[repr(C)]
pub struct evws_response {
    /// From 200 to 599.
    pub status: u32,
    /// Its headers, with names as they are to be sent. `Connection` counts only if it says `close`,
    /// and `Content-Length` only where there is no body to count.
    pub headers: evws_headers,
    /// The parts of the body. `item` is NULL: a sentence of plain text about the status, and its
    /// `Content-Type`.
    pub body: evws_strings,
}

/// The values of the environment variables that name proxies. `data` is NULL for one that is not
/// set, and must not be for one that is set to nothing.
#[repr(C)]
pub struct evws_proxy_environment {
    /// `https_proxy` or `HTTPS_PROXY`.
    pub https_proxy: evws_bytes,
    /// `http_proxy`.
    pub http_proxy: evws_bytes,
    /// `all_proxy` or `ALL_PROXY`.
    pub all_proxy: evws_bytes,
    /// `no_proxy` or `NO_PROXY`.
    pub no_proxy: evws_bytes,
}
