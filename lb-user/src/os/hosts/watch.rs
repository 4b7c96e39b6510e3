//! Noticing that somebody has changed the hosts file.

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use inotify::{Events, Inotify, WatchDescriptor, WatchMask};
use tokio::{
    io::unix::AsyncFd,
    sync::mpsc::{Sender, error::TrySendError},
    time::sleep,
};

use super::read::{directory_of, resolve};

/// How long changes are gathered before the notification: most programs write a file in several steps. Counted from
/// the first change, so that one who never stops writing cannot hold it back.
const GATHER: Duration = Duration::from_millis(50);

/// How often to look for a directory that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// Large enough for some 14 events with the longest names (`sizeof(struct inotify_event) + NAME_MAX + 1` = 272).
const BUFFER: usize = 4096;

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel gave no inotify instance.
    #[error("watch {} (hint: raise fs.inotify.max_user_instances and max_user_watches)", path.display())]
    Inotify {
        /// The hosts file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Nobody listens any more.
    #[error("notify of a change of a file: the receiver is gone")]
    Closed,
}

/// Sends one `()` at the start, and again whenever the file at `path` may have changed: written, replaced, created,
/// deleted, or reached by another symbolic link. If `tx` is full, a notification is under way already and none is added;
/// a capacity of 1 is enough.
///
/// Every change is followed by a notification that is sent after it, so a reader who reads after receiving misses
/// nothing. Our own writes are reported as well: applying once more writes nothing, and that ends it. A mount over
/// the file cannot be seen this way.
///
/// # Errors
/// When inotify is not to be had, or the receiver is gone. A missing file or directory is no error.
pub async fn watch(path: PathBuf, tx: Sender<()>) -> Result<Infallible, WatchError> {
    loop {
        // Watches are made anew each time, since those on a file that was replaced are useless; what happens until
        // then is covered by the notification that follows.
        let watched = Watched::new(&path);
        let watched = watched.map_err(|source| WatchError::Inotify { path: path.clone(), source })?;
        notify(&tx)?;
        let changed = async {
            match watched {
                Some(watched) => watched.changed().await,
                None => absent(&path).await,
            }
        };
        tokio::select! {
            changed = changed => changed.map_err(|source| WatchError::Inotify { path: path.clone(), source })?,
            () = tx.closed() => return Err(WatchError::Closed),
        }
        sleep(GATHER).await;
    }
}

fn notify(tx: &Sender<()>) -> Result<(), WatchError> {
    match tx.try_send(()) {
        Ok(()) | Err(TrySendError::Full(())) => Ok(()),
        Err(TrySendError::Closed(())) => Err(WatchError::Closed),
    }
}

/// Returns once all directories are there.
async fn absent(path: &Path) -> io::Result<()> {
    while Watched::new(path)?.is_none() {
        sleep(RETRY).await;
    }
    Ok(())
}

struct Watched {
    inotify: AsyncFd<Inotify>,
    /// The name in each directory that is of interest.
    names: Vec<(WatchDescriptor, OsString)>,
}

impl Watched {
    /// Watches the directory of each symbolic link on the way and of the file, for names that come and go, and the
    /// file itself, for a bind mount is not written by way of its directory. None if a directory is missing.
    fn new(path: &Path) -> io::Result<Option<Self>> {
        let inotify = Inotify::init()?;
        let names_change = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let content_changes = WatchMask::MODIFY | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let hops = match resolve(path) {
            Ok(hops) => hops,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut names = Vec::with_capacity(hops.len());
        for hop in &hops {
            match inotify.watches().add(directory_of(hop), names_change) {
                Ok(wd) => names.push((wd, hop.file_name().unwrap_or_default().to_owned())),
                Err(error) if is_missing(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        match inotify.watches().add(path, content_changes) {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(Some(Self { inotify: register(inotify)?, names }))
    }

    /// Returns at the first event that matters.
    async fn changed(mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let relevant = match ready.get_inner_mut().read_events(&mut buffer) {
                Ok(events) => any_matters(events, &self.names),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(error),
            };
            if relevant {
                return Ok(());
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
fn register(inotify: Inotify) -> io::Result<AsyncFd<Inotify>> {
    // SAFETY: an Inotify owns its descriptor, always returns the same one, and closes it when it is dropped; it is
    // never replaced within the AsyncFd, which is dropped as a whole.
    unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)
}

/// An event without a name is about the file or directory itself, or an overflow of the queue.
fn any_matters(mut events: Events<'_>, names: &[(WatchDescriptor, OsString)]) -> bool {
    events.any(|event| match event.name {
        Some(name) => names.iter().any(|(wd, watched)| *wd == event.wd && watched == name),
        None => true,
    })
}

/// ENOTDIR: something that is no directory has taken its place.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
