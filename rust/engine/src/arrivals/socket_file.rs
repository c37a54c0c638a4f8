//! The file of a listening Unix socket: made by bind(2), and removed by the process that made it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::sys;

/// Removes its file when it is dropped.
pub struct SocketFile {
    /// Absolute: the program may change its directory.
    path: PathBuf,
    /// Device and inode: what is there later may be someone else's.
    identity: (u64, u64),
    process: u32,
}

impl SocketFile {
    /// Listens at `path`. `mode` are the permissions of the file, set before anybody can connect;
    /// without it the umask decides. A socket that nobody listens on any more is replaced.
    /// `backlog` as in [`sys::start_listening`].
    ///
    /// # Errors
    /// An error of the system; the path is that of a socket that is in use, or of something else.
    pub fn listen(
        path: &Path,
        mode: Option<u32>,
        backlog: Option<i32>,
    ) -> io::Result<(OwnedFd, SocketFile)> {
        let path = std::path::absolute(path)?;
        let fd = match sys::bind_unix(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(&path, error)?;
                sys::bind_unix(&path)?
            }
            result => result?,
        };
        let made = fs::symlink_metadata(&path)?;
        let file = SocketFile {
            path,
            identity: (made.dev(), made.ino()),
            process: sys::process_id(),
        };
        if let Some(mode) = mode {
            fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
        }
        sys::start_listening(fd.as_fd(), backlog)?;
        Ok((fd, file))
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, in the process that made it, unless it was replaced meanwhile.
    pub fn remove(&mut self) {
        let is_ours = |found: fs::Metadata| (found.dev(), found.ino()) == self.identity;
        if self.process == sys::process_id() && fs::symlink_metadata(&self.path).is_ok_and(is_ours)
        {
            // A failure cannot be reported. The next listener at this path removes the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes a socket that nobody listens on any more. `in_use`: why its place cannot be had.
fn remove_stale(path: &Path, in_use: io::Error) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::other("the file exists and is not a socket"));
    }
    match sys::connect_unix(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // The socket is in use, or nothing could be found out about it.
        _ => Err(in_use),
    }
}
