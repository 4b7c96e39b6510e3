//! One agent per node: flock(2) on the directory that holds what the agents would fight about, or on a file in it. The kernel
//! releases it when the process ends, however it ends, so there is no stale lock to clear away.

mod shared;

use std::{
    fmt, fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, Stat, flock, fstat, major, minor, open, stat},
    io::Errno,
};

pub use shared::SharedLocks;

/// The file in the state directory that is locked.
pub const FILE: &str = "agent.lock";

/// How often to start over because the directory was replaced between opening and locking it. That takes an
/// `lbctl cleanup` at that very moment, and each time another one.
const ATTEMPTS: usize = 5;

/// The right to be the node's agent. It ends with this value, or with the process.
///
/// It belongs to the open directory or file, which is closed on exec, so that no child inherits it.
#[derive(Debug)]
pub struct AgentLock {
    _open: OwnedFd,
}

/// Why the lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "another lbctl agent{} is running on this node; hint: stop it first, or use `lbctl status`",
        Pid(*pid)
    )]
    Held {
        /// Its process id as seen from here; `None` if it lives in a pid namespace that cannot be seen from here, or
        /// has ended meanwhile.
        pid: Option<u32>,
        /// What it has locked.
        path: PathBuf,
    },
    /// It cannot be opened: a directory must exist, of a file its directory.
    #[error("open {} to lock it", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file system has no locks.
    #[error("lock {}", path.display())]
    Lock {
        /// What.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It was replaced again and again.
    #[error("lock {}: it was removed and made anew {ATTEMPTS} times meanwhile", path.display())]
    Replaced {
        /// What.
        path: PathBuf,
    },
}

struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (pid {pid})"),
            None => Ok(()),
        }
    }
}

/// Becomes the node's agent by a directory that only root can read. Does not wait.
///
/// # Errors
/// When another process is, or `dir` is no directory that can be locked.
pub fn acquire(dir: &Path) -> Result<AgentLock, LockError> {
    lock(dir, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Becomes the node's agent by a file of that purpose, which is made where it is missing. Does not wait.
///
/// Whoever may open a file may lock it, so in a directory that others can read a file is locked that only root can open.
///
/// # Errors
/// As [`acquire`].
pub fn acquire_file(path: &Path) -> Result<AgentLock, LockError> {
    lock(path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW)
}

/// As [`acquire_file`], but makes none.
///
/// # Errors
/// As [`acquire`]; [`LockError::Open`] where there is no such file.
pub fn acquire_present(path: &Path) -> Result<AgentLock, LockError> {
    lock(path, OFlags::RDWR | OFlags::NOFOLLOW)
}

fn lock(path: &Path, flags: OFlags) -> Result<AgentLock, LockError> {
    for _ in 0..ATTEMPTS {
        let opened = open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
            .map_err(|e| LockError::Open { path: path.to_owned(), source: e.into() })?;
        let locked = fstat(&opened).map_err(|e| failed(path, e))?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string("/proc/locks").ok().and_then(|table| holder(&table, &locked));
                return Err(LockError::Held { pid, path: path.to_owned() });
            }
            Err(e) => return Err(failed(path, e)),
        }
        // A lock on what is no longer in its place keeps nobody out.
        match stat(path) {
            Ok(current) if identity(&current) == identity(&locked) => {
                return Ok(AgentLock { _open: opened });
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(path, e)),
        }
    }
    Err(LockError::Replaced { path: path.to_owned() })
}

fn failed(path: &Path, errno: Errno) -> LockError {
    LockError::Lock { path: path.to_owned(), source: errno.into() }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Who holds a flock on a file, from /proc/locks, proc_locks(5):
///
/// `1: FLOCK  ADVISORY  WRITE 28197 fe:00:5939209 0 EOF`
///
/// Device numbers are hexadecimal, the inode is decimal. `->` marks who only waits for a lock.
fn holder(table: &str, file: &Stat) -> Option<u32> {
    let id = format!("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let flock = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?;
        let matches = flock && fields.next()? == id;
        // 0 and negative numbers stand for a process that cannot be seen from here.
        if matches { pid.parse().ok().filter(|pid| *pid > 0) } else { None }
    })
}

#[cfg(test)]
mod tests;
