//! What outlives the agent, on disk: [`lb_core::state`] as JSON in `<stateDir>/state.json`.
//!
//! A new file takes the old one's place by rename once it is on disk, so that a crash leaves the old or the new
//! content. What cannot be understood is set aside rather than overwritten or trusted, and is never fatal: the agent
//! then starts as if it had no state. There is one agent per node ([`super::lock`]), so nobody else writes here.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use lb_core::state::{STATE_VERSION, State};
use rustix::{fs::OFlags, io::Errno};
use serde::Deserialize;

mod aside;

/// Within `stateDir`.
const NAME: &str = "state.json";

/// How the names of temporary files begin.
const TEMPORARY: &str = ".state.json.";

/// The largest file that is read or written, in bytes: some 8,000 backends, where a service has at most 64.
pub const MAX_LEN: usize = 1 << 20;

/// The state file. Reading and writing block, and writing waits for the disk.
#[derive(Debug)]
pub struct StateFile {
    dir: PathBuf,
    path: PathBuf,
    /// What the file is known to hold.
    known: Option<State>,
    /// There is a file that [`StateFile::load`] has neither understood nor set aside.
    in_the_way: bool,
}

/// What became of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The file has changed.
    Written,
    /// The file was as wanted, and was not touched.
    Unchanged,
}

/// Why a state file was not used. The agent goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum SetAside {
    /// It cannot be understood, and has another name now.
    #[error("use state file {}; it was kept as {}, and the agent goes on without it", path.display(), kept.display())]
    Renamed {
        /// The state file.
        path: PathBuf,
        /// Its new name.
        kept: PathBuf,
        /// The cause.
        source: Flaw,
    },
    /// It cannot be understood, and could not be renamed either. The next save tries again.
    #[error("rename state file {}, which cannot be used: {flaw}", path.display())]
    Stuck {
        /// The state file.
        path: PathBuf,
        /// Why it cannot be used.
        flaw: Flaw,
        /// Why it could not be renamed.
        source: io::Error,
    },
    /// It cannot be read, for all that is known it is good, and it stays where it is until the next save, which sets it
    /// aside.
    #[error("read state file {}; the agent goes on without it", path.display())]
    Unreadable {
        /// The state file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What is wrong with a state file.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// A directory, link, pipe or the like.
    #[error("not a regular file")]
    NotRegular,
    /// Larger than [`MAX_LEN`].
    #[error("larger than {MAX_LEN} bytes")]
    TooLarge,
    /// Written by another release.
    #[error("its version is {0}, and this lbctl knows {STATE_VERSION}")]
    Version(u32),
    /// Truncated or garbage.
    #[error("parse it as JSON")]
    Garbage(#[source] serde_json::Error),
}

/// Why the state was not saved. The old file is intact.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// Writing failed.
    #[error("write state file {} (hint: {})", path.display(), remedy(source))]
    Write {
        /// The state file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It would be larger than [`MAX_LEN`], and not be read again.
    #[error("write state file {}: {len} bytes are more than {MAX_LEN}", path.display())]
    TooLarge {
        /// The state file.
        path: PathBuf,
        /// The length that it would have.
        len: usize,
    },
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: remount it, or set stateDir to a directory that can be written"
        }
        ErrorKind::PermissionDenied => "run as root, or set stateDir to a directory that can be written",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space; the old content is intact",
        _ => "correct stateDir, or what is in its place",
    }
}

enum Unusable {
    Flawed(Flaw),
    Unreadable(io::Error),
}

impl StateFile {
    /// The file in `dir`, the config's `stateDir`; neither has to exist.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), path: dir.join(NAME), known: None, in_the_way: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says; without one, or with one that is no good, the default. A file that cannot be understood is
    /// renamed to `state.json.corrupt-<unix time in seconds>`, of which the newest three are kept.
    pub fn load(&mut self) -> (State, Option<SetAside>) {
        (self.known, self.in_the_way) = (None, false);
        let path = self.path.clone();
        let warning = match read(&path) {
            Ok(None) => return (State::default(), None),
            Ok(Some(state)) => {
                self.known = Some(state.clone());
                return (state, None);
            }
            Err(Unusable::Unreadable(source)) => SetAside::Unreadable { path, source },
            Err(Unusable::Flawed(flaw)) => match aside::set_aside(&self.dir, &path) {
                Ok(kept) => return (State::default(), Some(SetAside::Renamed { path, kept, source: flaw })),
                Err(source) => SetAside::Stuck { path, flaw, source },
            },
        };
        self.in_the_way = true;
        (State::default(), Some(warning))
    }

    /// Makes the file say this. When it returns, the content is on disk. A missing directory is made, with mode 0700.
    ///
    /// # Errors
    /// When the directory or file cannot be written. The old file is then still there, and the next call tries again.
    pub fn save(&mut self, state: &State) -> Result<Saved, StateFileError> {
        if self.known.as_ref() == Some(state) {
            return Ok(Saved::Unchanged);
        }
        let mut content = serde_json::to_vec_pretty(state).map_err(|e| self.failed(e.into()))?;
        content.push(b'\n');
        if content.len() > MAX_LEN {
            return Err(StateFileError::TooLarge { path: self.path.clone(), len: content.len() });
        }
        // A failure may come after the rename.
        self.known = None;
        self.write(&content).map_err(|e| self.failed(e))?;
        self.known = Some(state.clone());
        Ok(Saved::Written)
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        aside::sweep(&self.dir);
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir)?;
        temporary.as_file().write_all(content)?;
        temporary.as_file().sync_all()?;
        if self.in_the_way {
            match aside::set_aside(&self.dir, &self.path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                Ok(_) | Err(_) => self.in_the_way = false,
            }
        }
        temporary.persist(&self.path).map_err(|e| e.error)?;
        File::open(&self.dir)?.sync_all()
    }

    fn failed(&self, source: io::Error) -> StateFileError {
        StateFileError::Write { path: self.path.clone(), source }
    }
}

fn read(path: &Path) -> Result<Option<State>, Unusable> {
    // Neither follows a link nor waits for a pipe's writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // A link, a socket.
        Err(e) if [Errno::LOOP, Errno::NXIO].map(|n| Some(n.raw_os_error())).contains(&e.raw_os_error()) => {
            return Err(Unusable::Flawed(Flaw::NotRegular));
        }
        Err(e) => return Err(Unusable::Unreadable(e)),
    };
    if !file.metadata().map_err(Unusable::Unreadable)?.is_file() {
        return Err(Unusable::Flawed(Flaw::NotRegular));
    }
    let mut content = Vec::new();
    file.take(MAX_LEN as u64 + 1).read_to_end(&mut content).map_err(Unusable::Unreadable)?;
    if content.len() > MAX_LEN {
        return Err(Unusable::Flawed(Flaw::TooLarge));
    }
    parse(&content).map(Some).map_err(Unusable::Flawed)
}

/// The version first: the rest of another version may be anything.
fn parse(content: &[u8]) -> Result<State, Flaw> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(content).map_err(Flaw::Garbage)?;
    if version != STATE_VERSION {
        return Err(Flaw::Version(version));
    }
    serde_json::from_slice(content).map_err(Flaw::Garbage)
}
