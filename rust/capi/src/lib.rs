//! The C interface of the engine: converts and guards, decides nothing.
//!
//! The conventions on ownership, threads and aliasing stand at the top of the header that
//! `rust/header` generates (`cbindgen.toml`). Every exported function runs its work through `guard`, so that no panic
//! leaves Rust.
#![allow(non_camel_case_types)]

mod adopt;
pub mod answer;
pub mod connection;
pub mod context;
pub mod drive;
mod guard;
mod listener;
pub mod log;
pub mod memory;
pub mod open;
pub mod options;
mod proxy;
mod tls;
pub mod types;
