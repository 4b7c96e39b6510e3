//! The unix socket itself: made so that nobody but its owner can ever connect, and removed only by who made it.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _, fs::FileTypeExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
    },
};

/// The longest path: `sun_path` has 108 bytes (unix(7)), the last of them 0.
pub(super) const PATH_MAX: usize = 107;

/// Connections that wait to be accepted. A few commands at once; more are told to try again.
const BACKLOG: i32 = 32;

/// Why the admin socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel has no room for such a path.
    #[error(
        "admin socket path {} has {length} bytes, {} is the most; hint: set admin.socket to a shorter one",
        path.display(), PATH_MAX
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Somebody listens there: most likely another agent.
    #[error("admin socket {} is in use by {}; hint: one agent is enough for a node", path.display(), process(*pid))]
    AlreadyServed {
        /// The path.
        path: PathBuf,
        /// The process that listens, where the kernel tells.
        pid: Option<i32>,
    },
    /// Something else has that name, and is not ours to remove.
    #[error("{} is there and is not a socket; hint: set admin.socket to another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("failed to {step} admin socket {}", path.display())]
    Os {
        /// What was tried.
        step: &'static str,
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A socket file that is removed on drop, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "failed to remove the admin socket");
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Listens on `path` with mode 0600. What a dead agent left there is removed. Two agents that start at the same
/// instant are kept apart by the agent's own lock, not here.
pub(super) fn bound(path: &Path) -> Result<(std::os::unix::net::UnixListener, SocketFile), BindError> {
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_MAX {
        return Err(BindError::PathTooLong { path: path.to_owned(), length });
    }
    let os = |step| move |error: io::Error| BindError::Os { step, path: path.to_owned(), source: error };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(os("make the directory of"))?;
    }
    make_room(path)?;
    let socket = new_socket().map_err(os("create"))?;
    // bind(2) gives the file the mode of the socket, less the umask (unix(7)), so there is no instant at which
    // others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|e| os("set the mode of")(e.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|e| os("name")(e.into()))?;
    bind(&socket, &address).map_err(|e| os("bind")(e.into()))?;
    let made = fs::symlink_metadata(path).map_err(os("look at"))?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&made) };
    listen(&socket, BACKLOG).map_err(|e| os("listen on")(e.into()))?;
    Ok((socket.into(), file))
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Removes the socket of a process that is gone; refuses everything else that is there.
fn make_room(path: &Path) -> Result<(), BindError> {
    let os = |step| move |error: io::Error| BindError::Os { step, path: path.to_owned(), source: error };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::NotASocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(os("look at")(error)),
    }
    let probe = new_socket().map_err(os("create"))?;
    let address = SocketAddrUnix::new(path).map_err(|e| os("name")(e.into()))?;
    let pid = match connect(&probe, &address) {
        Err(Errno::CONNREFUSED) => return fs::remove_file(path).map_err(os("remove the stale")),
        Ok(()) => sockopt::socket_peercred(probe.as_fd()).ok().map(|peer| peer.pid.as_raw_nonzero().get()),
        // It listens, but its queue is full.
        Err(Errno::AGAIN) => None,
        Err(error) => return Err(os("connect to")(error.into())),
    };
    Err(BindError::AlreadyServed { path: path.to_owned(), pid })
}
