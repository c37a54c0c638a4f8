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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("evws-{}-{name}", std::process::id()))
    }

    fn refused(path: &Path) -> io::Error {
        SocketFile::listen(path, None, None).err().unwrap()
    }

    /// A server that has so much to do that it refuses us for the moment is there all the same.
    #[cfg(target_os = "linux")] // which refuses in other words than for a socket that nobody has
    #[test]
    fn a_socket_that_is_busy_is_in_use() {
        let path = place("busy");
        let (_fd, file) = SocketFile::listen(&path, None, Some(0)).unwrap();
        let mut clients = Vec::new();
        let full = loop {
            match sys::connect_unix(&path) {
                Ok(client) => clients.push(client),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(refused(&path).kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_has_is_replaced_and_a_file_is_not() {
        let path = place("stale");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_fd, file) = SocketFile::listen(&path, Some(0o600), None).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        drop(file);
        fs::write(&path, "text").unwrap();
        let text = refused(&path).to_string();
        assert_eq!(text, "the file exists and is not a socket");
        assert_eq!(fs::read(&path).unwrap(), b"text");
        fs::remove_file(&path).unwrap();
    }

    /// It is told as what it is, and not as a file that is missing.
    #[test]
    fn a_path_that_is_too_long_is_no_place() {
        let long = place(&"x".repeat(150));
        assert_eq!(refused(&long).kind(), io::ErrorKind::InvalidInput);
    }
}
