//! The hosts file on real file systems: bind mounts, full and read-only disks, links, attributes, and the watcher.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use lb_core::hosts::{self, Entry};
use lb_user::os::hosts::{HostsFile, HostsFileError, How, Outcome, watch::watch};
use rustix::{
    fs::XattrFlags,
    mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount},
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

const DEADLINE: Duration = Duration::from_secs(10);

fn vip() -> Vec<Entry> {
    vec![Entry { address: "10.103.97.2".parse().unwrap(), hostname: "apiserver.cluster.local".into() }]
}

fn dir_with(content: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    fs::write(&path, content).unwrap();
    (dir, path)
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Applies, checks, applies again, removes, and expects the first content.
fn round_trip(path: &Path, how: How) {
    let (file, before) = (HostsFile::new(path), fs::read(path).unwrap());
    assert_eq!(file.apply(&vip()).unwrap(), Outcome::Written(how));
    assert_eq!(fs::read(path).unwrap(), hosts::apply(&before, &vip()).unwrap());
    assert_eq!(file.apply(&vip()).unwrap(), Outcome::Unchanged);
    assert_eq!(file.remove().unwrap(), Outcome::Written(how));
    assert!(fs::read(path).unwrap() == before);
    assert_eq!(file.remove().unwrap(), Outcome::Unchanged);
}

/// A mount that goes when the test does.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("failed to unmount {}: {error}", self.0.display());
        }
    }
}

impl Mount {
    fn tmpfs(at: &Path) -> Self {
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
        Self(at.to_owned())
    }

    fn bind(from: &Path, at: &Path) -> Self {
        mount_bind(from, at).unwrap();
        Self(at.to_owned())
    }
}

/// Mounting needs root; says so and returns true without.
fn skipped_without_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED {test}: it mounts file systems, which needs root");
    }
    !root
}

#[test]
fn files_of_all_kinds_come_back_byte_for_byte() {
    let mebibyte: String =
        (0..50_000).map(|n| format!("10.{}.{}.1 host-{n:08}\n", n / 256, n % 256)).collect();
    assert!(mebibyte.len() > 1 << 20);
    for content in
        ["", "127.0.0.1 localhost", "127.0.0.1 a\r\n10.0.0.9 apiserver.cluster.local\r\n", &mebibyte]
    {
        let (dir, path) = dir_with(content.as_bytes());
        round_trip(&path, How::Renamed);
        assert_eq!(names_in(dir.path()), ["hosts"]);
    }
}

#[test]
fn a_missing_file_is_created_and_deleted_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    let file = HostsFile::new(&path);
    assert_eq!(file.read().unwrap(), None);
    assert_eq!(file.remove().unwrap(), Outcome::Unchanged);
    assert_eq!(file.apply(&vip()).unwrap(), Outcome::Written(How::Renamed));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(file.remove().unwrap(), Outcome::Written(How::Deleted));
    assert_eq!(names_in(dir.path()), Vec::<String>::new());
}

#[test]
fn a_created_file_with_others_lines_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    let file = HostsFile::new(&path);
    file.apply(&vip()).unwrap();
    fs::write(&path, [fs::read(&path).unwrap(), b"10.0.0.7 db\n".to_vec()].concat()).unwrap();
    assert_eq!(file.remove().unwrap(), Outcome::Written(How::Renamed));
    assert_eq!(fs::read_to_string(&path).unwrap(), "10.0.0.7 db\n");
}

#[test]
fn mode_owner_and_attributes_stay() {
    let (_dir, path) = dir_with(b"127.0.0.1 localhost\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    }
    let attributed = rustix::fs::setxattr(&path, c"user.note", b"kept", XattrFlags::empty()).is_ok();
    let before = fs::metadata(&path).unwrap();
    HostsFile::new(&path).apply(&vip()).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_ne!(after.ino(), before.ino());
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    if attributed {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(&path, c"user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..len], b"kept");
    } else {
        eprintln!(
            "SKIPPED the attribute in mode_owner_and_attributes_stay: no user attributes on this file system"
        );
    }
}

#[test]
fn a_symbolic_link_stays_and_its_target_is_written() {
    let (dir, path) = dir_with(b"127.0.0.1 localhost\n");
    fs::create_dir(dir.path().join("etc")).unwrap();
    let link = dir.path().join("etc/hosts");
    symlink("../hosts", &link).unwrap();
    round_trip(&link, How::Renamed);
    fs::remove_file(&path).unwrap();
    HostsFile::new(&link).apply(&vip()).unwrap();
    assert!(link.is_symlink() && path.is_file());
    assert_eq!(HostsFile::new(&link).remove().unwrap(), Outcome::Written(How::Deleted));
    assert!(link.is_symlink() && !path.exists());
}

#[test]
fn what_is_no_hosts_file_is_refused() {
    let (dir, path) = dir_with(b"");
    let message =
        |path: &Path| format!("{:#}", anyhow::Error::from(HostsFile::new(path).apply(&vip()).unwrap_err()));
    assert!(message(dir.path()).contains("not a regular file"));
    File::options().write(true).open(&path).unwrap().set_len(hosts::MAX_LEN as u64 + 1).unwrap();
    assert!(message(&path).contains("larger than 16777216 bytes"));
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(message(&dir.path().join("loop")).contains("symbolic links"));
    assert!(message(&dir.path().join("absent/hosts")).contains("create the directory"));
}

#[test]
fn a_bind_mounted_file_is_rewritten_in_place() {
    if skipped_without_root("a_bind_mounted_file_is_rewritten_in_place") {
        return;
    }
    let content = "127.0.0.1 localhost\n10.0.0.9 m1 apiserver.cluster.local\n10.0.0.6 c";
    let (dir, source) = dir_with(content.as_bytes());
    let path = dir.path().join("mounted");
    fs::write(&path, "").unwrap();
    let _mount = Mount::bind(&source, &path);
    let inode = fs::metadata(&path).unwrap().ino();
    round_trip(&path, How::InPlace);
    assert_eq!(fs::metadata(&source).unwrap().ino(), inode);
    assert_eq!(names_in(dir.path()), ["hosts", "mounted"]);
}

#[test]
fn a_file_in_a_read_only_directory_is_rewritten_in_place() {
    if skipped_without_root("a_file_in_a_read_only_directory_is_rewritten_in_place") {
        return;
    }
    let (dir, source) = dir_with(b"127.0.0.1 localhost\n");
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let tmpfs = Mount::tmpfs(&etc);
    fs::write(etc.join("hosts"), "").unwrap();
    mount_remount(&tmpfs.0, MountFlags::RDONLY, "").unwrap();
    let _mount = Mount::bind(&source, &etc.join("hosts"));
    round_trip(&etc.join("hosts"), How::InPlace);
}

#[test]
fn a_read_only_file_system_is_named_together_with_a_remedy() {
    if skipped_without_root("a_read_only_file_system_is_named_together_with_a_remedy") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tmpfs = Mount::tmpfs(dir.path());
    let path = dir.path().join("hosts");
    fs::write(&path, "127.0.0.1 localhost\n").unwrap();
    mount_remount(&tmpfs.0, MountFlags::RDONLY, "").unwrap();
    let error = HostsFile::new(&path).apply(&vip()).unwrap_err();
    assert!(!error.is_permission());
    let message = format!("{:#}", anyhow::Error::from(error));
    for part in [path.to_str().unwrap(), "Read-only file system", "hint: the file system is read-only"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n");
    assert_eq!(HostsFile::new(&path).remove().unwrap(), Outcome::Unchanged);
}

#[test]
fn a_full_disk_leaves_the_old_content_and_no_other_file() {
    if skipped_without_root("a_full_disk_leaves_the_old_content_and_no_other_file") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [disk, mounted] = ["disk", "mounted"].map(|name| dir.path().join(name));
    fs::create_dir(&disk).unwrap();
    fs::write(&mounted, "").unwrap();
    let _tmpfs = Mount::tmpfs(&disk);
    // Exactly two of tmpfs' pages are taken, so that one more byte needs a third; then none is left.
    let content = "10.0.0.1 some-host-x\n10.0.0.9 m1 apiserver.cluster.local\n#\n".repeat(512);
    let content = &content[..8192];
    let path = disk.join("hosts");
    fs::write(&path, content).unwrap();
    assert!(fs::write(disk.join("ballast"), vec![0; 1 << 17]).is_err());
    let _bind = Mount::bind(&path, &mounted);
    for path in [&path, &mounted] {
        let error = HostsFile::new(path).apply(&vip()).unwrap_err();
        assert!(
            matches!(&error, HostsFileError::Write { source, .. } if source.raw_os_error() == Some(28)),
            "{error:?}"
        );
        assert!(error.to_string().contains("free some space"));
        assert!(fs::read_to_string(path).unwrap() == content);
        assert_eq!(names_in(&disk), ["ballast", "hosts"]);
    }
    fs::remove_file(disk.join("ballast")).unwrap();
    HostsFile::new(&mounted).apply(&[]).unwrap();
    assert!(fs::read_to_string(&mounted).unwrap() == content);
}

async fn notified(rx: &mut mpsc::Receiver<()>) {
    timeout(DEADLINE, rx.recv()).await.expect("no notification in time").expect("the watcher has ended");
}

/// Runs `change`, and waits until the content that it leaves is announced and repaired.
async fn repaired_after(path: &Path, rx: &mut mpsc::Receiver<()>, change: impl FnOnce()) {
    let file = HostsFile::new(path);
    while file.apply(&vip()).ok() != Some(Outcome::Unchanged) {
        notified(rx).await;
    }
    change();
    loop {
        notified(rx).await;
        if matches!(file.apply(&vip()), Ok(Outcome::Written(_))) {
            return;
        }
    }
}

#[tokio::test]
async fn the_watcher_notices_every_way_of_changing_the_file() {
    let (dir, path) = dir_with(b"127.0.0.1 localhost\n");
    let (tx, mut rx) = mpsc::channel(1);
    let watcher = tokio::spawn(watch(path.clone(), tx));
    notified(&mut rx).await;
    repaired_after(&path, &mut rx, || fs::write(&path, "1.1.1.1 a\n").unwrap()).await;
    repaired_after(&path, &mut rx, || {
        let other = dir.path().join("other");
        fs::write(&other, "2.2.2.2 b\n").unwrap();
        fs::rename(other, &path).unwrap();
    })
    .await;
    repaired_after(&path, &mut rx, || fs::remove_file(&path).unwrap()).await;
    repaired_after(&path, &mut rx, || File::options().write(true).open(&path).unwrap().set_len(0).unwrap())
        .await;
    repaired_after(&path, &mut rx, || {
        let moved = dir.path().with_extension("moved");
        fs::rename(dir.path(), &moved).unwrap();
        fs::remove_dir_all(moved).unwrap();
        fs::create_dir(dir.path()).unwrap();
    })
    .await;
    watcher.abort();
}

#[tokio::test]
async fn the_watcher_falls_silent_after_our_own_write() {
    let (dir, path) = dir_with(b"127.0.0.1 localhost\n");
    let (tx, mut rx) = mpsc::channel(1);
    let watcher = tokio::spawn(watch(path.clone(), tx));
    let file = HostsFile::new(&path);
    notified(&mut rx).await;
    assert_eq!(file.apply(&vip()).unwrap(), Outcome::Written(How::Renamed));
    notified(&mut rx).await;
    assert_eq!(file.apply(&vip()).unwrap(), Outcome::Unchanged);
    fs::write(dir.path().join("another"), "").unwrap();
    // Ten times as long as changes are gathered.
    assert!(timeout(Duration::from_millis(500), rx.recv()).await.is_err(), "notified without a change");
    watcher.abort();
}

#[tokio::test]
async fn the_watcher_follows_links_and_bind_mounts() {
    let (dir, target) = dir_with(b"127.0.0.1 localhost\n");
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let path = etc.join("hosts");
    symlink(&target, &path).unwrap();
    let (tx, mut rx) = mpsc::channel(1);
    let watcher = tokio::spawn(watch(path.clone(), tx));
    repaired_after(&path, &mut rx, || fs::write(&target, "1.1.1.1 a\n").unwrap()).await;
    repaired_after(&path, &mut rx, || fs::remove_file(&target).unwrap()).await;
    watcher.abort();
    if skipped_without_root("the bind mount in the_watcher_follows_links_and_bind_mounts") {
        return;
    }
    let mounted = dir.path().join("mounted");
    fs::write(&mounted, "").unwrap();
    let _mount = Mount::bind(&target, &mounted);
    let (tx, mut rx) = mpsc::channel(1);
    let watcher = tokio::spawn(watch(mounted.clone(), tx));
    repaired_after(&mounted, &mut rx, || fs::write(&target, "1.1.1.1 a\n").unwrap()).await;
    watcher.abort();
}

#[tokio::test]
async fn the_watcher_ends_when_nobody_listens() {
    let (_dir, path) = dir_with(b"");
    let (tx, mut rx) = mpsc::channel(1);
    let watcher = tokio::spawn(watch(path, tx));
    notified(&mut rx).await;
    drop(rx);
    assert!(timeout(DEADLINE, watcher).await.unwrap().unwrap().is_err());
}
