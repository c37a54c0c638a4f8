//! Plain HTTP/1.1 beside the upgrade (RFC 9110, RFC 9112), as far as a WebSocket server needs it: requests with a
//! small body, and responses whose length is known.
//!
//! `request` reads a head and says how long its body is, `body` collects that, `response` is every answer but 101.

mod body;
mod request;
mod response;
mod status;

pub use body::Body;
pub use request::{parse, HttpRequest, Incoming};
pub(crate) use response::status_text;
pub use response::{status_refusal, HttpResponse, HttpResponseError, Terms};

/// The longest request body accepted, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// What a client waits for that has announced `Expect: 100-continue` (RFC 9110 section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
