//! The state file on real file systems: whole, broken, of another version, on full and read-only disks.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread,
};

use lb_core::{
    model::{Admin, BackendKey},
    state::{BackendState, RuntimeChange, State},
};
use lb_user::os::state_file::{Flaw, MAX_LEN, Saved, SetAside, StateFile, StateFileError};
use proptest::{collection, prelude::*};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
    process::Uid,
};
use tempfile::TempDir;

const CORRUPT: &str = "state.json.corrupt-";

fn key(service: &str, address: &str) -> BackendKey {
    BackendKey { service: service.parse().unwrap(), address: address.parse().unwrap() }
}

fn state() -> State {
    let mut state = State::default();
    let last_up = Some("2025-01-02T03:04:05.678Z".parse().unwrap());
    state.set(
        &key("apiserver", "10.0.0.1:6443"),
        BackendState { admin: Admin::Draining, drain_until: last_up, runtime: None, last_up },
    );
    let runtime = Some(RuntimeChange { weight: None, config: Some(100) });
    state.set(&key("other", "[2001:db8::1]:6443"), BackendState { runtime, ..BackendState::default() });
    state
}

/// A directory in which a state was saved, and the file's content.
fn saved() -> (TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    StateFile::new(dir.path()).save(&state()).unwrap();
    let path = dir.path().join("state.json");
    let content = fs::read(&path).unwrap();
    (dir, path, content)
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Loads, expects that the file was renamed, and returns its new path and what was wrong.
fn set_aside(dir: &Path) -> (PathBuf, Flaw) {
    let (state, warning) = StateFile::new(dir).load();
    assert_eq!(state, State::default());
    match warning.unwrap() {
        SetAside::Renamed { path, kept, source } => {
            assert_eq!(path, dir.join("state.json"));
            assert!(!path.exists());
            (kept, source)
        }
        other => panic!("{other:?}"),
    }
}

fn message(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// A file system of 64 KiB that goes when the test does.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.path(), UnmountFlags::DETACH) {
            eprintln!("failed to unmount {}: {error}", self.path().display());
        }
    }
}

/// Says so and returns true without root.
fn skipped_without_root(test: &str, why: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED {test}: it {why}, which needs root");
    }
    !root
}

#[test]
fn without_a_file_there_is_no_state_and_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [dir.path(), &dir.path().join("absent")] {
        let (state, warning) = StateFile::new(dir).load();
        assert_eq!(state, State::default());
        assert!(warning.is_none());
    }
    assert!(names_in(dir.path()).is_empty(), "loading makes nothing");
}

#[test]
fn what_was_saved_is_loaded_by_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("lib/lbctl");
    assert_eq!(StateFile::new(&dir).save(&state()).unwrap(), Saved::Written);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&dir), mode(&dir.join("state.json"))), (0o700, 0o600));
    let (loaded, warning) = StateFile::new(&dir).load();
    assert_eq!(loaded, state());
    assert!(warning.is_none());
    assert_eq!(names_in(&dir), ["state.json"]);
}

#[test]
fn what_the_file_says_already_is_not_written_again() {
    let (dir, path, _) = saved();
    let inode = || fs::metadata(&path).unwrap().ino();
    let first = inode();
    let mut file = StateFile::new(dir.path());
    let (loaded, _) = file.load();
    assert_eq!(file.save(&loaded).unwrap(), Saved::Unchanged);
    assert_eq!(inode(), first);
    assert_eq!(file.save(&State::default()).unwrap(), Saved::Written);
    assert_eq!(file.save(&State::default()).unwrap(), Saved::Unchanged);
    assert_eq!(file.save(&state()).unwrap(), Saved::Written);
    assert_eq!(StateFile::new(dir.path()).load().0, state());
}

#[test]
fn a_file_truncated_anywhere_is_kept_aside_and_a_whole_one_is_used() {
    let (dir, path, content) = saved();
    let complete = content.len() - 1;
    assert_eq!(content[complete], b'\n');
    for end in 0..complete {
        fs::write(&path, &content[..end]).unwrap();
        let (kept, flaw) = set_aside(dir.path());
        assert!(matches!(flaw, Flaw::Garbage(_)), "{end} bytes: {flaw:?}");
        assert_eq!(fs::read(&kept).unwrap(), &content[..end]);
        fs::remove_file(kept).unwrap();
    }
    for end in [complete, content.len()] {
        fs::write(&path, &content[..end]).unwrap();
        let (loaded, warning) = StateFile::new(dir.path()).load();
        assert!(warning.is_none());
        assert_eq!(loaded, state());
        assert_eq!(fs::read(&path).unwrap(), &content[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_either_used_or_kept_aside(
        garbage in collection::vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
        replace in any::<bool>(),
    ) {
        let (dir, path, mut content) = saved();
        let start = at.index(content.len());
        let end = if replace { content.len().min(start + garbage.len()) } else { start };
        content.splice(start..end, garbage);
        fs::write(&path, &content).unwrap();
        match StateFile::new(dir.path()).load() {
            (_, None) => prop_assert_eq!(fs::read(&path).unwrap(), content),
            (state, Some(SetAside::Renamed { kept, .. })) => {
                prop_assert_eq!(state, State::default());
                prop_assert_eq!(fs::read(kept).unwrap(), content);
            }
            (_, Some(other)) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_state_comes_back(
        backends in collection::vec((any::<u32>(), any::<u16>(), any::<Option<u16>>(), any::<u32>()), 0..64),
    ) {
        let mut state = State::default();
        for (ip, port, weight, seconds) in backends {
            let runtime = Some(RuntimeChange { weight, config: weight.map(|w| w / 2) });
            let last_up = jiff_seconds(seconds);
            let admin = if port % 2 == 0 { Admin::Draining } else { Admin::Active };
            let address = format!("{}:{port}", std::net::Ipv4Addr::from(ip));
            state.set(&key("apiserver", &address), BackendState { admin, runtime, last_up, drain_until: last_up });
        }
        let dir = tempfile::tempdir().unwrap();
        StateFile::new(dir.path()).save(&state).unwrap();
        let (loaded, warning) = StateFile::new(dir.path()).load();
        prop_assert!(warning.is_none());
        prop_assert_eq!(loaded, state);
    }
}

/// A time, by way of its text form.
fn jiff_seconds<T: std::str::FromStr>(seconds: u32) -> Option<T> {
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("2025-01-02T{h:02}:{m:02}:{s:02}Z").parse().ok()
}

#[test]
fn each_flaw_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let cases = [
        ("{\"version\": 2, \"peers\": []}", "its version is 2, and this lbctl knows 1"),
        ("{\"version\": 1, \"services\": {}, \"peers\": []}", "unknown field `peers`"),
        ("{\"services\": {}}", "missing field `version`"),
        ("{\"version\": 1, \"services\": {\"-\": {}}}", "parse it as JSON"),
        ("{\"version\": 1, \"services\": {}}}", "trailing characters"),
        ("\0\0\0\0", "expected value at line 1 column 1"),
        ("", "EOF while parsing"),
    ];
    for (content, expected) in cases {
        fs::write(&path, content).unwrap();
        let warning = message(StateFile::new(dir.path()).load().1.unwrap());
        for part in [path.to_str().unwrap(), CORRUPT, expected] {
            assert!(warning.contains(part), "{warning}");
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_set_aside_and_none_is_written() {
    let (dir, path, mut content) = saved();
    content.resize(MAX_LEN, b' ');
    fs::write(&path, &content).unwrap();
    assert_eq!(StateFile::new(dir.path()).load().0, state(), "the largest that is allowed");
    fs::write(&path, [&content[..], b" "].concat()).unwrap();
    assert!(matches!(set_aside(dir.path()).1, Flaw::TooLarge));

    let mut state = state();
    for n in 0..20_000_u32 {
        let address = format!("{}:6443", std::net::Ipv4Addr::from(n));
        state.set(&key("a", &address), BackendState { admin: Admin::Draining, ..Default::default() });
    }
    let error = StateFile::new(dir.path()).save(&state).unwrap_err();
    assert!(matches!(error, StateFileError::TooLarge { .. }), "{error:?}");
    assert!(!path.exists());
}

#[test]
fn what_is_no_regular_file_is_set_aside_without_waiting_or_following() {
    let (dir, path, content) = saved();
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    let make: [&dyn Fn(); 5] = [
        &|| fs::create_dir(&path).unwrap(),
        &|| symlink(&elsewhere, &path).unwrap(),
        &|| symlink("nowhere", &path).unwrap(),
        &|| mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        &|| drop(UnixListener::bind(&path).unwrap()),
    ];
    for make in make {
        make();
        let (kept, flaw) = set_aside(dir.path());
        assert!(matches!(flaw, Flaw::NotRegular));
        assert!(kept.symlink_metadata().is_ok());
    }
    assert_eq!(fs::read(&elsewhere).unwrap(), content);
}

#[test]
fn the_newest_three_are_kept_whatever_the_clock_says() {
    let (dir, path, _) = saved();
    let future = u64::from(u32::MAX);
    fs::write(dir.path().join(format!("{CORRUPT}{future}")), "").unwrap();
    fs::write(dir.path().join(format!("{CORRUPT}of-mine")), "").unwrap();
    for n in 1..=5_u64 {
        fs::write(&path, n.to_string()).unwrap();
        let (kept, _) = set_aside(dir.path());
        assert_eq!(kept, dir.path().join(format!("{CORRUPT}{}", future + n)));
        assert_eq!(fs::read_to_string(kept).unwrap(), n.to_string());
    }
    let expected = [future + 3, future + 4, future + 5].map(|n| format!("{CORRUPT}{n}"));
    assert_eq!(names_in(dir.path()), [&expected[..], &[format!("{CORRUPT}of-mine")]].concat());
}

#[test]
fn what_a_killed_agent_left_half_written_goes_with_the_next_save() {
    let (dir, ..) = saved();
    fs::write(dir.path().join(".state.json.Xy12Zz"), "{\"vers").unwrap();
    let mut file = StateFile::new(dir.path());
    assert_eq!(file.load().0, state());
    file.save(&State::default()).unwrap();
    assert_eq!(names_in(dir.path()), ["state.json"]);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let not_dir = dir.path().join("lbctl");
    fs::write(&not_dir, "").unwrap();
    let mut file = StateFile::new(&not_dir);
    let (loaded, warning) = file.load();
    assert_eq!(loaded, State::default());
    assert!(matches!(warning, Some(SetAside::Unreadable { .. })), "{warning:?}");
    let message = message(file.save(&state()).unwrap_err());
    assert!(message.contains(not_dir.to_str().unwrap()) && message.contains("correct stateDir"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_stays_and_is_not_overwritten() {
    if skipped_without_root("a_file_that_cannot_be_read_stays_and_is_not_overwritten", "becomes another user")
    {
        return;
    }
    let (dir, path, content) = saved();
    chown(dir.path(), Some(1234), None).unwrap();
    let unprivileged = || {
        // Of this thread only.
        rustix::thread::set_thread_uid(Uid::from_raw(1234)).unwrap();
        let mut file = StateFile::new(dir.path());
        let (loaded, warning) = file.load();
        assert_eq!(loaded, State::default());
        match warning.unwrap() {
            SetAside::Unreadable { source, .. } => assert_eq!(source.kind(), io::ErrorKind::PermissionDenied),
            other => panic!("{other:?}"),
        }
        assert_eq!(names_in(dir.path()), ["state.json"]);
        assert_eq!(file.save(&State::default()).unwrap(), Saved::Written);
        assert_eq!(file.load().0, State::default());
    };
    thread::scope(|scope| scope.spawn(unprivileged).join().unwrap());
    let names = names_in(dir.path());
    assert!(names.len() == 2 && names[1].starts_with(CORRUPT), "{names:?}");
    assert_eq!(fs::read(dir.path().join(&names[1])).unwrap(), content);
    assert_ne!(fs::read(path).unwrap(), content);
}

#[test]
fn a_full_disk_leaves_the_old_state_and_no_other_file() {
    if skipped_without_root("a_full_disk_leaves_the_old_state_and_no_other_file", "mounts a file system") {
        return;
    }
    let tmpfs = Tmpfs::new();
    let mut file = StateFile::new(tmpfs.path());
    file.save(&state()).unwrap();
    assert!(fs::write(tmpfs.path().join("ballast"), vec![0; 1 << 17]).is_err());
    for _ in 0..2 {
        let error = file.save(&State::default()).unwrap_err();
        assert!(
            matches!(&error, StateFileError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        let message = message(error);
        for part in [file.path().to_str().unwrap(), "hint: free some space"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(StateFile::new(tmpfs.path()).load().0, state());
        assert_eq!(names_in(tmpfs.path()), ["ballast", "state.json"]);
    }
    File::options().write(true).open(tmpfs.path().join("ballast")).unwrap().set_len(0).unwrap();
    assert_eq!(file.save(&State::default()).unwrap(), Saved::Written);
}

#[test]
fn on_a_read_only_disk_a_good_file_is_used_and_a_bad_one_stays() {
    if skipped_without_root(
        "on_a_read_only_disk_a_good_file_is_used_and_a_bad_one_stays",
        "mounts a file system",
    ) {
        return;
    }
    let tmpfs = Tmpfs::new();
    let mut file = StateFile::new(tmpfs.path());
    file.save(&state()).unwrap();
    mount_remount(tmpfs.path(), MountFlags::RDONLY, "").unwrap();
    assert_eq!(file.load().0, state());
    let message = message(file.save(&State::default()).unwrap_err());
    for part in [file.path().to_str().unwrap(), "Read-only file system", "hint: the file system is read-only"]
    {
        assert!(message.contains(part), "{message}");
    }

    mount_remount(tmpfs.path(), MountFlags::empty(), "").unwrap();
    fs::write(file.path(), "{").unwrap();
    mount_remount(tmpfs.path(), MountFlags::RDONLY, "").unwrap();
    let (loaded, warning) = file.load();
    assert_eq!(loaded, State::default());
    assert!(matches!(warning, Some(SetAside::Stuck { flaw: Flaw::Garbage(_), .. })), "{warning:?}");

    mount_remount(tmpfs.path(), MountFlags::empty(), "").unwrap();
    assert_eq!(file.save(&state()).unwrap(), Saved::Written);
    let names = names_in(tmpfs.path());
    assert!(names.len() == 2 && names[1].starts_with(CORRUPT), "{names:?}");
    assert_eq!(fs::read_to_string(tmpfs.path().join(&names[1])).unwrap(), "{");
}
