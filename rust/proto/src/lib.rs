//! The WebSocket protocol without sockets and clocks.
