//! From a name to a connected socket.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::sync::oneshot;

use super::stream::Stream;
use super::{Desk, Question};

/// The addresses of a host, which may be one already.
///
/// # Errors
/// The name cannot be resolved; in words.
pub async fn resolve(desk: &Desk, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (answer, found) = oneshot::channel();
    *desk.borrow_mut() = Some(Question::Lookup {
        host: host.to_owned(),
        port,
        answer,
    });
    let result = match found.await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the resolver ended")),
    };
    match result {
        Ok(addresses) if addresses.is_empty() => {
            Err(format!("cannot resolve {host}: the name has no address"))
        }
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(format!("cannot resolve {host}: {error}")),
    }
}

/// Connects to the first address of `host` that answers, in the resolver's order.
///
/// # Errors
/// None did: each with its error, in words.
pub async fn connect(stream: &Stream, host: &str, addresses: &[SocketAddr]) -> Result<(), String> {
    let mut failures = String::new();
    for address in addresses {
        match stream.connect(address).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let separator = if failures.is_empty() { "" } else { "; " };
                // Writing to a String cannot fail.
                let _ = write!(failures, "{separator}connect to {address}: {error}");
            }
        }
    }
    if host.parse::<IpAddr>().is_ok() {
        Err(failures)
    } else {
        Err(format!("cannot connect to {host}: {failures}"))
    }
}
