//! The operating system: socket2 and std in the form that the engine needs, the system calls that they
//! do not offer, and all of this crate's `unsafe`.
//!
//! Descriptors are owned (`OwnedFd`) or borrowed (`BorrowedFd`) everywhere, so that no function
//! here can touch one that someone else has closed.

mod listen;
mod memory;
mod socket;
mod thread;
mod transfer;
mod wakeup;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub use listen::{
    accept, bind, bind_unix, interface_index, is_address_absent, is_lasting, start_listening,
    take_listening, BindOptions,
};
pub use memory::trim as trim_memory;
pub use socket::{
    check_connected_stream, connect, connect_unix, duplicate, local_address, local_path,
    peer_address, reset_on_close, set_nodelay, set_nonblocking, shutdown, shutdown_unwritable,
    shutdown_write, take_error, unacknowledged, UNIX_PATH_MAX,
};
pub use thread::{process_id, with_signals_blocked};
pub use transfer::{receive, receive_into, receive_two, send_gathered, MAX_GATHERED};
pub use wakeup::{drain_wakeup, wake, wakeup_pair};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// # Safety
/// `fd` must be a descriptor that was just made and that nothing else owns.
unsafe fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the caller hands over the only ownership of an open descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
