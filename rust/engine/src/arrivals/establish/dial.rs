//! From a name to a connected socket.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use tokio::sync::oneshot;

use super::mailbox::{Mailbox, Question};
use super::race::race;
use super::stream::Stream;
use crate::{error, sys};

/// The addresses of a host, which may be one already.
///
/// # Errors
/// The name cannot be resolved; in words.
pub async fn resolve(mailbox: &Mailbox, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    mailbox.log(format_args!("looks {host} up"));
    let (answer, found) = oneshot::channel();
    mailbox.ask(Question::Lookup {
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
        Ok(addresses) => {
            mailbox.log(format_args!("{host} is {addresses:?}"));
            Ok(addresses)
        }
        Err(error) => Err(format!(
            "cannot resolve {host}: {}",
            error::system_text(&error)
        )),
    }
}

/// The addresses without repetitions, the families taking turns (RFC 8305 section 4). The resolver
/// has put the better family first.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut first, mut second) = (VecDeque::new(), VecDeque::new());
    for address in addresses {
        let family = if address.is_ipv4() == first_is_v4 {
            &mut first
        } else {
            &mut second
        };
        if !family.contains(address) {
            family.push_back(*address);
        }
    }
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        mixed.extend(first.pop_front());
        mixed.extend(second.pop_front());
    }
    mixed
}

/// Begins to connect to an address.
///
/// # Errors
/// The errors of connecting.
pub fn begin(mailbox: &Mailbox, address: &SocketAddr) -> io::Result<OwnedFd> {
    let fd = sys::connect(address)?;
    log_opened(mailbox, &fd, address);
    Ok(fd)
}

fn log_opened(mailbox: &Mailbox, fd: &OwnedFd, target: &dyn Display) {
    let fd = fd.as_raw_fd();
    mailbox.log_descriptor(format_args!("fd {fd} is opened: connects to {target}"));
}

/// An address has answered.
pub fn log_connected(mailbox: &Mailbox, address: &SocketAddr) {
    mailbox.log(format_args!("connected to {address}"));
}

/// Connects to the first address of `host` that answers.
///
/// # Errors
/// A text: no address could be connected to, each with its error.
pub async fn connect(
    stream: &Stream,
    mailbox: &Mailbox,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<(), String> {
    let result = match interleave(addresses)[..] {
        // A single address needs no race.
        [only] => stream
            .connect(|| begin(mailbox, &only))
            .await
            .map(|()| log_connected(mailbox, &only))
            .map_err(|error| vec![(only, error)]),
        ref several => race(stream, mailbox, several).await,
    };
    let Err(failures) = result else {
        return Ok(());
    };
    let failures: Vec<String> = failures
        .iter()
        .map(|(address, error)| format!("connect to {address}: {}", error::system_text(error)))
        .collect();
    let failures = failures.join("; ");
    if host.parse::<IpAddr>().is_ok() {
        Err(failures)
    } else {
        Err(format!("cannot connect to {host}: {failures}"))
    }
}

/// Connects to a Unix socket.
///
/// # Errors
/// The error of connect(2), with the path.
pub async fn connect_unix(stream: &Stream, mailbox: &Mailbox, path: &Path) -> Result<(), String> {
    let begin = || {
        let fd = sys::connect_unix(path)?;
        log_opened(mailbox, &fd, &path.display());
        Ok(fd)
    };
    let result = stream.connect(begin).await;
    result.map_err(|error| {
        format!(
            "connect to {}: {}",
            path.display(),
            error::system_text(&error)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn families_take_turns_and_nothing_comes_twice() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (given, expected) in [
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"][..],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"][..],
            ),
            (
                &["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"],
                &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"],
            ),
            (&["1.1.1.1:1", "1.1.1.1:1"], &["1.1.1.1:1"]),
            (&[], &[]),
        ] {
            assert_eq!(interleave(&parse(given)), parse(expected));
        }
    }

    /// The system may say of a name that it is there and has no address of the families that are asked for. An attempt at
    /// none of them would fail without a reason.
    #[test]
    fn a_name_without_addresses_is_told_as_that() {
        let mailbox = Mailbox::default();
        let mut found = pin!(resolve(&mailbox, "example.org", 80));
        let mut context = Context::from_waker(Waker::noop());
        assert!(found.as_mut().poll(&mut context).is_pending());
        let Some(Question::Lookup { host, port, answer }) = mailbox.take_question() else {
            panic!("nothing was asked");
        };
        assert_eq!((&host[..], port), ("example.org", 80));
        assert!(answer.send(Ok(Vec::new())).is_ok());
        let text = "cannot resolve example.org: the name has no address";
        assert_eq!(found.poll(&mut context), Poll::Ready(Err(text.to_owned())));
    }
}
