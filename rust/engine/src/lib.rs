//! The engine of EV::Websockets: sockets, names, deadlines and queues around the protocol of
//! [`evws_proto`], driven by the calls of an event loop. It knows no Perl and starts no thread but
//! those that look names up and take steps of TLS handshakes.

// What the integration tests share is used by unit tests as well.
#[cfg(test)]
extern crate self as evws_engine;

mod adopt;
mod answer;
mod attempts;
mod bind;
mod connect;
mod context;
mod deadlines;
mod end;
mod establish;
mod event;
mod holders;
mod link;
mod listener;
mod pending;
mod queue;
mod receive;
mod resolver;
mod runtime;
mod secure;
mod send;
mod shutdown;
mod slots;
mod socket_file;
mod sys;
#[cfg(test)]
mod time_tests;
mod tls;
mod upgrade;
mod watch;
mod words;

pub use adopt::{AdoptOptions, AdoptedAs};
pub use answer::usual_response;
pub use bind::{ListenerAddress, Place};
pub use connect::{CallError, ConnectOptions, ConnectionState, ListenOptions};
pub use context::Context;
pub use event::{Event, Id, Interest, Wants, Watch};
pub use evws_proto::close::check_code;
pub use evws_proto::connection::SendError;
pub use evws_proto::deflate::Options as DeflateOptions;
pub use evws_proto::handshake::RequestParts;
pub use evws_proto::http::{Request, Response};
pub use evws_proto::proxy;
pub use evws_proto::utf8::is_valid as is_utf8;
pub use evws_proto::Role;
pub use pending::Settings;
pub use send::Kind;
pub use tls::client::ClientTls;
pub use tls::clients::VerifyClient;
pub use tls::info::TlsInfo;
pub use tls::server::{NamedCertificate, ServerTls};
pub use upgrade::UpgradeOptions;
