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
    let message = |pid| LockError::Held { pid, path: "/sys/fs/bpf/lbctl".into() }.to_string();
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
        .args(["--exact", &format!("{}::{test}", module_path!().split_once("::").unwrap().1), "--nocapture"])
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
        LockError::Held { pid, path: named } => {
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
        refused_while_a_child_holds_it(dir.path(), "another_process_is_named_and_its_death_frees_the_lock");
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

#[test]
fn a_file_is_made_that_only_its_owner_can_open() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.lock");
    let first = acquire_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(acquire_file(&path), Err(LockError::Held { .. })));
    drop(first);
    acquire_file(&path).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(acquire_file(&link), Err(LockError::Open { .. })), "somebody else's file");
}

#[test]
fn who_shares_locks_shares_one_until_the_last_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let locks = SharedLocks::default();
    let first = locks.acquire(dir.path()).unwrap();
    let second = locks.clone().acquire(dir.path()).unwrap();
    assert!(matches!(acquire(dir.path()), Err(LockError::Held { .. })));
    drop(first);
    assert!(matches!(SharedLocks::default().acquire(dir.path()), Err(LockError::Held { .. })));
    drop(second);
    drop(acquire(dir.path()).unwrap());
    locks.acquire(dir.path()).unwrap();
}
