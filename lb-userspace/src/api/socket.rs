//! The Unix socket that the API is served on.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;

use crate::model::Fault;

/// Where the socket is unless the user names another place.
pub const DEFAULT_SOCKET: &str = "/run/drlb.sock";

/// Held while the process's file mode mask is changed: two that change it at once would restore it wrongly.
static MASK: Mutex<()> = Mutex::new(());

/// A listening socket whose file goes away with it, unless another one has taken its place.
#[derive(Debug)]
pub struct BoundSocket {
    path: PathBuf,
    inode: u64,
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    Ok(fs::symlink_metadata(path)?.ino())
}

/// Listens on a Unix socket that only its owner may use. The file that a dead agent left is replaced.
///
/// Changes the process's file mode mask for a moment, so call it before other threads make files.
///
/// # Errors
/// When an agent listens there, when something else is at that path, or when the file cannot be made.
pub fn bind(path: &Path) -> Result<(UnixListener, BoundSocket), Fault> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Fault::conflict(format!(
                "{shown} is there and is not a socket; move it away, or name another path with --socket"
            )));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => {
                return Err(Fault::conflict(format!(
                    "an agent already runs on {shown}; stop it first, or give this one another --socket and --state-dir"
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| {
                    Fault::unavailable(format!(
                        "the socket that a dead agent left at {shown} cannot be removed: {error}"
                    ))
                })?;
            }
            Err(error) => {
                return Err(Fault::unavailable(format!("it is not known whether an agent runs on {shown}: {error}")));
            }
        },
        Err(_) => {}
    }
    // The mask, and not a chmod afterwards: there is no moment in which others may connect.
    let listener = {
        let _one_at_a_time = MASK.lock().unwrap_or_else(PoisonError::into_inner);
        let mask = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(mask);
        listener
    };
    let bound =
        listener.and_then(|listener| Ok((listener, BoundSocket { path: path.to_owned(), inode: inode(path)? })));
    bound.map_err(|error| {
        Fault::unavailable(format!(
            "cannot listen on {shown}: {error}; check that its folder exists and that you are root, or name another \
             path with --socket"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder for the test")
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_goes_away_with_it() {
        let folder = folder();
        let path = folder.path().join("drlb.sock");
        let (_listener, bound) = bind(&path).expect("a socket");
        let mode = fs::metadata(&path).expect("the socket's file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_agents_socket_is_replaced_and_a_living_ones_is_not() {
        let folder = folder();
        let path = folder.path().join("drlb.sock");
        let (listener, bound) = bind(&path).expect("a socket");
        let fault = bind(&path).expect_err("the first one listens");
        assert!(fault.message.starts_with("an agent already runs on "), "{fault}");
        // Death leaves the file behind.
        std::mem::forget(bound);
        drop(listener);
        assert!(path.exists());
        bind(&path).expect("the dead one's place");
    }

    #[tokio::test]
    async fn a_successors_socket_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("drlb.sock");
        let (_listener, first) = bind(&path).expect("a socket");
        fs::rename(&path, folder.path().join("moved")).expect("the file is moved away");
        let (_successor, second) = bind(&path).expect("a socket in its place");
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("notes");
        fs::write(&path, "mine").expect("a file");
        let fault = bind(&path).expect_err("not a socket");
        assert!(fault.message.contains("is not a socket"), "{fault}");
        assert_eq!(fs::read_to_string(&path).expect("the file"), "mine");
    }

    #[tokio::test]
    async fn a_missing_folder_is_named() {
        let fault = bind(Path::new("/nonexistent/drlb.sock")).expect_err("no folder");
        assert!(fault.message.starts_with("cannot listen on /nonexistent/drlb.sock: No such file"), "{fault}");
    }
}
