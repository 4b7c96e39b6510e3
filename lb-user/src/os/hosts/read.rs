//! Finding and reading the hosts file.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use lb_core::hosts::MAX_LEN;
use rustix::{fs::OFlags, io::Errno};

/// As many as the kernel follows (`MAXSYMLINKS` in include/linux/namei.h).
const MAX_LINKS: usize = 40;

/// A file as it was at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) content: Vec<u8>,
    pub(super) file: File,
    pub(super) stamp: Stamp,
}

/// What changes when anybody writes or replaces a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Snapshot {
    /// Follows no symbolic link, and does not wait for the other end of a pipe.
    pub(super) fn read(target: &Path) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(target)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut content = Vec::new();
        (&file).take(MAX_LEN as u64 + 1).read_to_end(&mut content)?;
        if content.len() > MAX_LEN {
            let message = format!("larger than {MAX_LEN} bytes, which no hosts file is");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        // Of before reading: a write in between shows as a difference when the stamps are compared later.
        Ok(Self { content, stamp: Stamp::of(&metadata), file })
    }
}

/// The path itself, and then what each symbolic link on the way to the file points to; the last one need not exist.
pub(super) fn resolve(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut hops = vec![path.to_owned()];
    let mut current = path.to_owned();
    while hops.len() <= MAX_LINKS {
        let target = match std::fs::read_link(&current) {
            Ok(target) => target,
            // EINVAL: not a symbolic link.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Ok(hops),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(hops),
            Err(error) => return Err(error),
        };
        current = directory_of(&current).join(target);
        hops.push(current.clone());
    }
    Err(Errno::LOOP.into())
}

/// The directory that holds the file's name.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}
