//! One agent per node: flock(2) on the directory that holds what the agents would fight about. The kernel releases it
//! when the process ends, however it ends, so there is no stale lock to clear away.

use std::{
    fmt, fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, Stat, flock, fstat, major, minor, open, stat},
    io::Errno,
};

/// How often to start over because the directory was replaced between opening and locking it. That takes an
/// `lbctl cleanup` at that very moment, and each time another one.
const ATTEMPTS: usize = 5;

/// The right to be the node's agent. It ends with this value, or with the process.
///
/// It belongs to the open directory, which is closed on exec, so that no child inherits it.
#[derive(Debug)]
pub struct AgentLock {
    _directory: OwnedFd,
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
        /// The directory that it has locked.
        dir: PathBuf,
    },
    /// The directory cannot be opened: it must exist.
    #[error("open {} to lock it", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file system has no locks.
    #[error("lock {}", dir.display())]
    Lock {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The directory was replaced again and again.
    #[error("lock {}: it was removed and made anew {ATTEMPTS} times meanwhile", dir.display())]
    Replaced {
        /// The directory.
        dir: PathBuf,
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

/// Becomes the node's agent. Does not wait.
///
/// # Errors
/// When another process is, or `dir` is no directory that can be locked.
pub fn acquire(dir: &Path) -> Result<AgentLock, LockError> {
    for _ in 0..ATTEMPTS {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(dir, flags, Mode::empty())
            .map_err(|e| LockError::Open { dir: dir.to_owned(), source: e.into() })?;
        let locked = fstat(&directory).map_err(|e| failed(dir, e))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string("/proc/locks").ok().and_then(|table| holder(&table, &locked));
                return Err(LockError::Held { pid, dir: dir.to_owned() });
            }
            Err(e) => return Err(failed(dir, e)),
        }
        // A lock on a directory that is no longer in its place keeps nobody out.
        match stat(dir) {
            Ok(current) if identity(&current) == identity(&locked) => {
                return Ok(AgentLock { _directory: directory });
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(dir, e)),
        }
    }
    Err(LockError::Replaced { dir: dir.to_owned() })
}

fn failed(dir: &Path, errno: Errno) -> LockError {
    LockError::Lock { dir: dir.to_owned(), source: errno.into() }
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
mod tests {
    use std::{
        env,
        io::{BufRead as _, BufReader, Read as _},
        process::{self, Child, Command, Stdio},
    };

    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    use super::*;

    /// Set for the child process; the directory to lock.
    const CHILD: &str = "LBCTL_TEST_LOCK";

    fn table(lines: &[&str]) -> String {
        lines.join("\n") + "\n"
    }

    /// 254:0, inode 5939209.
    fn file() -> Stat {
        let mut stat = stat("/").unwrap();
        (stat.st_dev, stat.st_ino) = (rustix::fs::makedev(0xfe, 0), 5_939_209);
        stat
    }

    #[test]
    fn the_holder_is_the_flock_with_that_device_and_inode() {
        let others = [
            "1: FLOCK  ADVISORY  WRITE 10 fe:00:5939208 0 EOF",
            "2: FLOCK  ADVISORY  WRITE 11 fe:01:5939209 0 EOF",
            "3: POSIX  ADVISORY  WRITE 12 fe:00:5939209 0 EOF",
            "4: OFDLCK ADVISORY  WRITE -1 fe:00:5939209 0 EOF",
            "5: -> FLOCK  ADVISORY  WRITE 13 fe:00:5939209 0 EOF",
            "6: LEASE  ACTIVE    READ 14 fe:00:5939209 0 EOF",
        ];
        assert_eq!(holder(&table(&others), &file()), None);
        let ours = "7: FLOCK  ADVISORY  WRITE 28197 fe:00:5939209 0 EOF";
        assert_eq!(holder(&table(&[&others[..], &[ours]].concat()), &file()), Some(28197));
    }

    #[test]
    fn a_holder_of_another_pid_namespace_has_no_pid() {
        for pid in ["0", "-1", "4294967296", "x"] {
            let line = format!("1: FLOCK  ADVISORY  WRITE {pid} fe:00:5939209 0 EOF\n");
            assert_eq!(holder(&line, &file()), None, "{line}");
        }
    }

    #[test]
    fn a_broken_table_names_nobody() {
        let line = "1: FLOCK  ADVISORY  WRITE 28197 fe:00:5939209 0 EOF";
        let complete = line.find(" 0 EOF").unwrap();
        for end in 0..complete {
            assert_eq!(holder(&line[..end], &file()), None, "{}", &line[..end]);
        }
        assert_eq!(holder(&line[..complete], &file()), Some(28197));
    }

    #[test]
    fn the_message_names_the_first_agent_and_what_to_do() {
        let message = |pid| LockError::Held { pid, dir: "/sys/fs/bpf/lbctl".into() }.to_string();
        let tail = " is running on this node; hint: stop it first, or use `lbctl status`";
        assert_eq!(message(Some(7)), format!("another lbctl agent (pid 7){tail}"));
        assert_eq!(message(None), format!("another lbctl agent{tail}"));
    }

    #[test]
    fn what_is_no_directory_cannot_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for name in ["file", "absent"] {
            let error = acquire(&dir.path().join(name)).unwrap_err();
            assert!(matches!(error, LockError::Open { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_second_lock_in_this_process_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = acquire(dir.path()).unwrap();
        assert!(matches!(acquire(dir.path()), Err(LockError::Held { .. })));
        drop(first);
        acquire(dir.path()).unwrap();
    }

    /// This very test again, in a process of its own: it locks, says so, and holds on until its input ends.
    fn holding_child(dir: &Path, test: &str) -> Child {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("{}::{test}", module_path!().split_once("::").unwrap().1),
                "--nocapture",
            ])
            .env(CHILD, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.ends_with("LOCKED")), "the child did not lock");
        child
    }

    /// In the child: does its part and returns true.
    fn is_child() -> bool {
        let Some(dir) = env::var_os(CHILD) else { return false };
        let _lock = acquire(Path::new(&dir)).unwrap();
        println!("LOCKED");
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        true
    }

    fn refused_while_a_child_holds_it(dir: &Path, test: &str) {
        let mut child = holding_child(dir, test);
        match acquire(dir).unwrap_err() {
            LockError::Held { pid, dir: named } => {
                assert_eq!((pid, named.as_path()), (Some(child.id()), dir));
            }
            other => panic!("{other:?}"),
        }
        assert_ne!(child.id(), process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        acquire(dir).unwrap();
    }

    #[test]
    fn another_process_is_named_and_its_death_frees_the_lock() {
        if !is_child() {
            let dir = tempfile::tempdir().unwrap();
            refused_while_a_child_holds_it(
                dir.path(),
                "another_process_is_named_and_its_death_frees_the_lock",
            );
        }
    }

    struct Bpffs(PathBuf);

    impl Drop for Bpffs {
        fn drop(&mut self) {
            if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
                eprintln!("failed to unmount {}: {error}", self.0.display());
            }
        }
    }

    #[test]
    fn a_directory_on_a_bpffs_can_be_locked() {
        if is_child() {
            return;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED a_directory_on_a_bpffs_can_be_locked: it mounts a bpffs, which needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        mount("lbctl", dir.path(), "bpf", MountFlags::empty(), Some(c"mode=0700")).unwrap();
        let bpffs = Bpffs(dir.path().to_owned());
        let ours = bpffs.0.join("lbctl");
        fs::create_dir(&ours).unwrap();
        for locked in [&ours, &bpffs.0] {
            refused_while_a_child_holds_it(locked, "a_directory_on_a_bpffs_can_be_locked");
        }
    }
}
