//! The engine of EV::Websockets: sockets, names, deadlines and queues around the protocol of
//! [`evws_proto`], driven by the calls of an event loop. It knows no Perl and starts no thread but
//! those that look names up and take steps of TLS handshakes.

// What the integration tests share is used by unit tests as well.
#[cfg(test)]
extern crate self as evws_engine;

mod arrivals;
mod context;
mod error;
mod event;
mod guest;
mod limits;
mod log;
mod outbox;
mod queue;
mod reactor;
mod resolver;
mod runtime;
mod shared;
mod sys;
mod timeouts;
mod tls;
mod traffic;

pub use arrivals::adopt::{AdoptOptions, AdoptedAs};
pub use arrivals::bind::{BindAddress, ListenerAddress};
pub use arrivals::connect::{ConnectOptions, ListenOptions};
pub use arrivals::upgrade::UpgradeOptions;
pub use arrivals::ProxyHeads;
pub use context::{usual_response, ConnectionState, Context, FanoutMessage};
pub use error::{CallError, Names};
pub use event::{Event, Id, Interest, RejectCause, Settings, Wants, Watch};
pub use evws_proto::close::check_code;
pub use evws_proto::connection::FrameKind;
pub use evws_proto::deflate::{self, Options as DeflateOptions};
pub use evws_proto::handshake::{HeadLimits, RequestParts};
pub use evws_proto::http::{HttpRequest, HttpResponse};
pub use evws_proto::proxy;
pub use evws_proto::url::UrlError;
pub use evws_proto::utf8::is_valid as is_utf8;
pub use evws_proto::Role;
pub use limits::{Limits, QueueLimits, Rate, RateLimit, WhenFull};
pub use log::{Line, Topic};
pub use tls::client::ClientTls;
pub use tls::client_verifier::VerifyClient;
pub use tls::info::TlsInfo;
pub use tls::server::{NamedCertificate, ServerTls};
pub use traffic::{
    ConnectionStatistics, Flow, Framed, OnSlow, Position, PublishOptions, SendError, TopicOptions,
    Totals,
};
