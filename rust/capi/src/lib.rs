//! The C interface of the engine: converts and guards, decides nothing.
//!
//! The conventions on ownership, threads and aliasing stand at the top of the header that `rust/header` generates
//! (`cbindgen.toml`). Every exported function runs its work through `guard`, so that no panic leaves Rust.
//!
//! A context is *live* from `evws_context_new` to `evws_context_free`, while no other call on it is under way. A
//! structure that may be read is valid for the call with all that it points to; a place that may be written to is valid
//! for the call, and nothing else is there.
#![allow(non_camel_case_types)]

pub mod answer;
pub mod connection;
pub mod context;
pub mod drive;
pub mod fanout;
mod guard;
pub mod limits;
mod listener;
pub mod log;
pub mod memory;
pub mod open;
pub mod options;
mod proxy;
mod statistics;
mod tls;
pub mod types;
