//! The hosts file on disk.
//!
//! What to write is decided by [`lb_core::hosts`]; here is how. A new file takes the old one's place by rename, with
//! its mode, owner and extended attributes (SELinux label, ACL), so that a reader sees the old or the new content and
//! never a part. Only where that cannot work (a bind-mounted file, a directory that cannot be written, an owner or
//! label that cannot be given) it is rewritten in place, in the order of [`lb_core::hosts::in_place`].
//!
//! Another program may write the file between our reading and writing. So the file is compared by identity, length
//! and times right before the rename, and everything starts over if it has changed. The few microseconds that are
//! left between the comparison and the rename cannot be closed, since other writers take no lock.

mod read;
pub mod watch;
mod write;

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use lb_core::hosts::{self, Entry, HostsError};

use self::{
    read::{Snapshot, resolve},
    write::Replaced,
};

/// How often a write starts over because somebody else wrote the file meanwhile. A writer that is faster than us this
/// often in a row does not stop soon, and the watcher lets the agent try again anyway.
const ATTEMPTS: usize = 5;

/// A hosts file, whether it exists or not.
#[derive(Debug, Clone)]
pub struct HostsFile {
    path: PathBuf,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file was as wanted, and was not touched.
    Unchanged,
    /// The file has changed.
    Written(How),
}

/// By which means a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A new file took its place.
    Renamed,
    /// It was rewritten in place, because rename cannot work here.
    InPlace,
    /// It was deleted: lbctl had made it, and nobody else has put anything into it.
    Deleted,
}

/// Why the hosts file could not be read or written. It is as it was, or in a state that
/// [`lb_core::hosts::in_place`] describes.
#[derive(Debug, thiserror::Error)]
pub enum HostsFileError {
    /// Reading failed.
    #[error("read hosts file {}", path.display())]
    Read {
        /// The hosts file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The content, or a name to put into it, is not acceptable.
    #[error("compute the content of hosts file {}", path.display())]
    Content {
        /// The hosts file.
        path: PathBuf,
        /// The cause.
        source: HostsError,
    },
    /// Writing failed.
    #[error("write hosts file {} (hint: {})", path.display(), remedy(source))]
    Write {
        /// The hosts file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Others wrote the file again and again while we were about to.
    #[error("write hosts file {}: another program changed it {ATTEMPTS} times meanwhile", path.display())]
    Contended {
        /// The hosts file.
        path: PathBuf,
    },
}

impl HostsFileError {
    /// Whether the caller lacks a permission, as opposed to a file system that nobody can write.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => {
                source.kind() == ErrorKind::PermissionDenied
            }
            Self::Content { .. } | Self::Contended { .. } => false,
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: remount it, set hosts.path to a writable file, or set hosts.manage: false"
        }
        ErrorKind::PermissionDenied => {
            "run as root, and look for an immutable flag with lsattr; or set hosts.manage: false"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space; the old content is intact",
        ErrorKind::NotFound => "create the directory, or correct hosts.path",
        _ => "set hosts.manage: false to go without a hosts entry",
    }
}

impl HostsFile {
    /// The file at `path`, which may be a symbolic link: its target is what is read and written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path as given to [`HostsFile::new`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content; None if there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file, or is larger than [`hosts::MAX_LEN`].
    pub fn read(&self) -> Result<Option<Vec<u8>>, HostsFileError> {
        Ok(self.snapshot()?.map(|(_, snapshot)| snapshot.content))
    }

    /// Brings the block for `wanted` into the file; creates it with mode 0644 if it is missing. An empty `wanted` is
    /// the same as [`HostsFile::remove`].
    ///
    /// # Errors
    /// When the file cannot be read or written; the old content is then still there, also on a full disk.
    pub fn apply(&self, wanted: &[Entry]) -> Result<Outcome, HostsFileError> {
        if wanted.is_empty() {
            return self.remove();
        }
        self.rewrite(|old| match old {
            Some(old) => hosts::apply(old, wanted).map(Some),
            None => hosts::create(wanted).map(Some),
        })
    }

    /// Takes everything of ours out of the file, and deletes it if nothing is left and lbctl had created it.
    ///
    /// # Errors
    /// As [`HostsFile::apply`].
    pub fn remove(&self) -> Result<Outcome, HostsFileError> {
        self.rewrite(|old| {
            Ok(old.and_then(|old| {
                let new = hosts::remove(old);
                (!new.is_empty() || !hosts::was_created(old)).then_some(new)
            }))
        })
    }

    fn rewrite(
        &self,
        new_content: impl Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>, HostsError>,
    ) -> Result<Outcome, HostsFileError> {
        for _ in 0..ATTEMPTS {
            let old = self.snapshot()?;
            let content = old.as_ref().map(|(_, snapshot)| snapshot.content.as_slice());
            let new = new_content(content)
                .map_err(|source| HostsFileError::Content { path: self.path.clone(), source })?;
            if new.as_deref() == content {
                return Ok(Outcome::Unchanged);
            }
            let replaced = match (&old, &new) {
                (Some((target, old)), Some(new)) => write::replace(target, old, new),
                (Some((target, old)), None) => write::delete(target, old),
                (None, Some(new)) => self.target().and_then(|target| write::create(&target, new)),
                (None, None) => return Ok(Outcome::Unchanged),
            };
            match replaced.map_err(|source| HostsFileError::Write { path: self.path.clone(), source })? {
                Replaced::Done(how) => return Ok(Outcome::Written(how)),
                Replaced::Raced => {}
            }
        }
        Err(HostsFileError::Contended { path: self.path.clone() })
    }

    fn snapshot(&self) -> Result<Option<(PathBuf, Snapshot)>, HostsFileError> {
        let read = || -> io::Result<_> {
            let target = self.target()?;
            match Snapshot::read(&target) {
                Ok(snapshot) => Ok(Some((target, snapshot))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        read().map_err(|source| HostsFileError::Read { path: self.path.clone(), source })
    }

    /// The file that the path means once all links are followed; it need not exist.
    fn target(&self) -> io::Result<PathBuf> {
        Ok(resolve(&self.path)?.pop().unwrap_or_else(|| self.path.clone()))
    }
}
