//! From where a program wants to be reached to listening sockets.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::socket_file::SocketFile;
use crate::error::{CallError, PathError};
use crate::sys::{self, BindOptions};

/// How often a free port is asked for that is free on several addresses.
const ATTEMPTS: usize = 32;

/// Where a listener is to be reached.
#[derive(Clone, Debug)]
pub enum BindAddress {
    /// At a port.
    Port {
        /// Addresses or names; none: all addresses of both families.
        hosts: Vec<String>,
        /// 0: any that is free on all of them.
        port: u16,
        /// Whether others may be bound to it too, and connections are spread over them.
        reuse_port: bool,
    },
    /// At a Unix socket.
    Path {
        /// Where its file is to be made.
        path: Vec<u8>,
        /// The permissions of the file; `None`: those that the umask leaves.
        mode: Option<u32>,
    },
    /// Where this descriptor listens already. It is duplicated.
    Descriptor(RawFd),
}

/// The sockets of a listener, all of which listen.
#[derive(Default)]
pub struct Bound {
    /// The sockets; that of a path with the file that goes with it.
    pub sockets: Vec<(OwnedFd, Option<SocketFile>)>,
    /// Where they are reached.
    pub address: ListenerAddress,
}

/// Where a listener is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerAddress {
    /// 0: there is none.
    pub port: u16,
    /// The addresses that have this port, as text.
    pub hosts: Vec<String>,
    /// The absolute path of a Unix socket.
    pub path: Option<Vec<u8>>,
}

impl Bound {
    fn add(&mut self, fd: OwnedFd, backlog: Option<i32>) -> io::Result<()> {
        sys::start_listening(fd.as_fd(), backlog)?;
        // Whoever listens at any port has to hear which one it is.
        sys::local_address(fd.as_fd())?;
        self.push(fd);
        Ok(())
    }

    fn push(&mut self, fd: OwnedFd) {
        if let Ok(local) = sys::local_address(fd.as_fd()) {
            self.address.port = local.port();
            self.address.hosts.push(host_text(&local));
        }
        self.sockets.push((fd, None));
    }
}

fn host_text(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => address.ip().to_string(),
    }
}

/// Listens there. `backlog`: how many connections may wait to be accepted; `None`: as many as the
/// system allows. Names of hosts are looked up by the system, which may have to ask a server.
///
/// # Errors
/// [`CallError`] for a path or a host that cannot be one, [`CallError`] for what
/// the system refuses.
pub fn bind(place: &BindAddress, backlog: Option<i32>) -> Result<Bound, CallError> {
    match place {
        BindAddress::Port {
            hosts,
            port,
            reuse_port,
        } if hosts.is_empty() => bind_all(Ipv6Addr::UNSPECIFIED, *port, *reuse_port, backlog)
            .map_err(|error| CallError::Bind {
                what: "failed to bind port".into(),
                error,
            }),
        BindAddress::Port {
            hosts,
            port,
            reuse_port,
        } => bind_hosts(hosts, *port, *reuse_port, backlog),
        BindAddress::Path { path, mode } => bind_path(path, *mode, backlog),
        BindAddress::Descriptor(fd) => take_over(*fd).map_err(|error| CallError::Bind {
            what: format!("fd {fd} cannot be used"),
            error,
        }),
    }
}

/// All addresses of both families, which is what `all` means, or of IPv4 alone where there is no IPv6.
fn bind_all(all: Ipv6Addr, port: u16, reuse_port: bool, backlog: Option<i32>) -> io::Result<Bound> {
    let mut bound = Bound::default();
    let mut options = BindOptions {
        dual_stack: true,
        reuse_port,
    };
    match sys::bind(&(all, port).into(), options) {
        Err(error) if sys::is_address_absent(&error) => {
            options.dual_stack = false;
            let fd = sys::bind(&(Ipv4Addr::UNSPECIFIED, port).into(), options)?;
            bound.add(fd, backlog)?;
        }
        result => {
            bound.add(result?, backlog)?;
            bound.address.hosts.push(Ipv4Addr::UNSPECIFIED.to_string());
        }
    }
    Ok(bound)
}

fn bind_hosts(
    hosts: &[String],
    port: u16,
    reuse_port: bool,
    backlog: Option<i32>,
) -> Result<Bound, CallError> {
    let hosts = hosts
        .iter()
        .map(|host| Ok((&host[..], resolve(host)?)))
        .collect::<Result<Vec<_>, CallError>>()?;
    let mut attempts = if port == 0 { ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let (host, port, error) = match bind_resolved(&hosts, port, reuse_port, backlog) {
            Ok(bound) => return Ok(bound),
            Err(failure) => failure,
        };
        // The port that was free on the first address is not free on another.
        if attempts == 0 || error.kind() != io::ErrorKind::AddrInUse {
            let host = host.escape_debug();
            return Err(CallError::Bind {
                what: format!("failed to bind host '{host}', port {port}"),
                error,
            });
        }
    }
}

/// The addresses of each host with one port. An address of a name that this machine does not have
/// is left out if it has another one of that name: a machine without IPv6 may well have ::1 in its
/// table of hosts.
fn bind_resolved<'a>(
    hosts: &[(&'a str, Vec<SocketAddr>)],
    port: u16,
    reuse_port: bool,
    backlog: Option<i32>,
) -> Result<Bound, (&'a str, u16, io::Error)> {
    let mut bound = Bound::default();
    let mut done: Vec<SocketAddr> = Vec::new();
    bound.address.port = port;
    let options = BindOptions {
        dual_stack: false,
        reuse_port,
    };
    for (host, addresses) in hosts {
        let mut absent = None;
        let mut any = false;
        for address in addresses {
            any |= done.contains(address);
            if done.contains(address) {
                continue;
            }
            let mut target = *address;
            target.set_port(bound.address.port);
            let result = sys::bind(&target, options).and_then(|fd| bound.add(fd, backlog));
            match result {
                Ok(()) => {
                    any = true;
                    done.push(*address);
                }
                Err(error) if sys::is_address_absent(&error) => absent = Some(error),
                Err(error) => return Err((host, target.port(), error)),
            }
        }
        if let (false, Some(error)) = (any, absent) {
            return Err((host, bound.address.port, error));
        }
    }
    Ok(bound)
}

/// The addresses of a host, with port 0. Literals are not looked up.
fn resolve(host: &str) -> Result<Vec<SocketAddr>, CallError> {
    let refuse = CallError::Host;
    let shown = host.escape_debug();
    if host.is_empty() {
        return Err(refuse("must not be empty".into()));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![(ip, 0).into()]);
    }
    if let Some((address, zone)) = bare.split_once('%') {
        let ip = address.parse::<Ipv6Addr>().map_err(|_| {
            refuse(format!(
                "'{shown}': only an IPv6 address has a zone behind '%'"
            ))
        })?;
        let index = zone.parse().ok().or_else(|| sys::interface_index(zone));
        let Some(index) = index else {
            return Err(refuse(format!("'{shown}': there is no such interface")));
        };
        return Ok(vec![SocketAddrV6::new(ip, 0, 0, index).into()]);
    }
    let found = (bare, 0)
        .to_socket_addrs()
        .map_err(|error| CallError::Bind {
            what: format!("host '{shown}'"),
            error,
        })?;
    Ok(found.collect())
}

fn bind_path(path: &[u8], mode: Option<u32>, backlog: Option<i32>) -> Result<Bound, CallError> {
    check_path(path).map_err(CallError::Path)?;
    let path = Path::new(OsStr::from_bytes(path));
    let (fd, file) = SocketFile::listen(path, mode, backlog).map_err(|error| {
        let path = path.display().to_string();
        let path = path.escape_debug();
        CallError::Bind {
            what: format!("failed to bind path '{path}'"),
            error,
        }
    })?;
    let path = file.path().as_os_str().as_bytes().to_vec();
    Ok(Bound {
        sockets: vec![(fd, Some(file))],
        address: ListenerAddress {
            path: Some(path),
            ..ListenerAddress::default()
        },
    })
}

/// # Errors
/// The path of a Unix socket cannot be one.
pub fn check_path(path: &[u8]) -> Result<(), PathError> {
    match path.len() {
        0 => Err(PathError::Empty),
        length if length > sys::UNIX_PATH_MAX => Err(PathError::Long(length)),
        _ if path.contains(&0) => Err(PathError::Nul),
        _ => Ok(()),
    }
}

/// The file of an inherited Unix socket stays: its maker goes on using it.
fn take_over(fd: RawFd) -> io::Result<Bound> {
    let mut bound = Bound::default();
    let fd = sys::take_listening(fd)?;
    bound.address.path = sys::local_path(fd.as_fd());
    bound.push(fd);
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<Vec<SocketAddr>, CallError>) -> String {
        match result {
            Ok(addresses) => format!("{addresses:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn literals_are_not_looked_up() {
        for (host, expected) in [
            ("127.0.0.1", "[127.0.0.1:0]"),
            ("::1", "[[::1]:0]"),
            ("[::1]", "[[::1]:0]"),
            ("fe80::1%7", "[[fe80::1%7]:0]"),
            ("[fe80::1%7]", "[[fe80::1%7]:0]"),
            ("", "host must not be empty"),
            (
                "127.0.0.1%7",
                "host '127.0.0.1%7': only an IPv6 address has a zone behind '%'",
            ),
            (
                "fe80::1%no such interface",
                "host 'fe80::1%no such interface': there is no such interface",
            ),
        ] {
            assert_eq!(text(resolve(host)), expected);
        }
    }

    #[cfg(target_os = "linux")] // where 127.0.0.2 is an address
    #[test]
    fn several_hosts_have_one_port_and_each_address_is_bound_once() {
        let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.1"].map(String::from);
        let bound = bind_hosts(&hosts, 0, false, None).unwrap();
        assert_eq!(bound.address.hosts, ["127.0.0.1", "127.0.0.2"]);
        assert_ne!(bound.address.port, 0);
        for (fd, _) in &bound.sockets {
            let local = sys::local_address(fd.as_fd()).unwrap();
            assert_eq!(local.port(), bound.address.port);
        }
    }

    /// An address of a name that the machine does not have is left out; a literal must be there.
    #[test]
    fn an_absent_address_is_left_out_if_its_name_has_another() {
        let absent: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let present: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = bind_resolved(&[("both", vec![absent, present])], 0, false, None);
        assert_eq!(bound.ok().unwrap().address.hosts, ["127.0.0.1"]);
        // The other may be there on behalf of another host already.
        let hosts = [("one", vec![present]), ("both", vec![present, absent])];
        let bound = bind_resolved(&hosts, 0, false, None);
        assert_eq!(bound.ok().unwrap().address.hosts, ["127.0.0.1"]);
        let failure = bind_resolved(
            &[("there", vec![present]), ("gone", vec![absent])],
            0,
            false,
            None,
        );
        let (host, _, error) = failure.err().unwrap();
        assert_eq!(host, "gone");
        assert!(sys::is_address_absent(&error));
    }

    /// Only what the machine does not have is left out: a server that is reached at one of two addresses alone, because
    /// another program has the other, would be found by half of its clients.
    #[cfg(target_os = "linux")] // where 127.0.0.2 is an address
    #[test]
    fn an_address_in_use_is_not_left_out() {
        let other = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let both = ["127.0.0.1:0", "127.0.0.2:0"].map(|text| text.parse().unwrap());
        let failure = bind_resolved(&[("both", both.to_vec())], port, false, None);
        let (host, at, error) = failure.err().unwrap();
        assert_eq!((host, at), ("both", port));
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn where_there_is_no_ipv6_all_addresses_are_those_of_ipv4() {
        let absent = "2001:db8::1".parse().unwrap();
        let bound = bind_all(absent, 0, false, None).unwrap();
        assert_eq!(bound.address.hosts, ["0.0.0.0"]);
        assert_ne!(bound.address.port, 0);
    }

    /// Clients of IPv6 would come to whoever has the port there.
    #[test]
    fn a_port_that_another_has_for_ipv6_is_in_use() {
        let all = Ipv6Addr::UNSPECIFIED;
        let Ok(other) = sys::bind(&(all, 0).into(), BindOptions::default()) else {
            return; // There is no IPv6 here.
        };
        sys::start_listening(other.as_fd(), None).unwrap();
        let port = sys::local_address(other.as_fd()).unwrap().port();
        let failure = bind_all(all, port, false, None).err().unwrap();
        assert_eq!(failure.kind(), io::ErrorKind::AddrInUse);
    }

    /// An address of one interface alone is none without its name, which may be its number.
    #[cfg(target_os = "linux")] // which calls it lo
    #[test]
    fn an_interface_has_a_name_and_a_number() {
        let number = sys::interface_index("lo").unwrap();
        assert_eq!(
            text(resolve("fe80::1%lo")),
            format!("[[fe80::1%{number}]:0]")
        );
        let host = |text: &str| host_text(&text.parse().unwrap());
        assert_eq!(host("[fe80::1%7]:80"), "fe80::1%7");
        assert_eq!(host("[::1]:80"), "::1");
    }

    #[test]
    fn a_port_in_use_is_told_with_its_host() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let failure = bind_hosts(&["127.0.0.1".to_owned()], port, false, None);
        let text = failure.err().unwrap().to_string();
        let start = format!("failed to bind host '127.0.0.1', port {port}: ");
        assert!(text.starts_with(&start), "{text}");
    }

    #[test]
    fn a_path_may_be_as_long_as_the_system_allows() {
        let most = sys::UNIX_PATH_MAX;
        assert!(check_path(&vec![b'x'; most]).is_ok());
        let long = check_path(&vec![b'x'; most + 1]);
        assert!(matches!(long, Err(PathError::Long(length)) if length == most + 1));
        assert!(matches!(check_path(b""), Err(PathError::Empty)));
        assert!(matches!(check_path(b"a\0b"), Err(PathError::Nul)));
    }
}
