//! Replacing, creating and deleting the hosts file.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use lb_core::hosts::in_place::{self, Step};
use rustix::{
    fs::{Gid, OFlags, Uid, XattrFlags, fchown, fgetxattr, flistxattr, fsetxattr},
    io::Errno,
};
use tempfile::NamedTempFile;

use super::{
    How,
    read::{Snapshot, Stamp, directory_of},
};

/// The most that the kernel returns for a list of attributes or a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` in
/// include/uapi/linux/limits.h).
const XATTR_MAX: usize = 65536;

/// Attributes that the kernel computes from a file's own content and identity: a copy would be wrong.
const INTEGRITY_XATTRS: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// After this a temporary file is a left-over of a process that was killed: writing one takes milliseconds.
const STALE_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Replaced {
    Done(How),
    /// Somebody else has changed the file; nothing was done.
    Raced,
}

enum RenameError {
    /// Rename cannot work here, but writing in place may.
    Impossible,
    Failed(io::Error),
}

impl From<io::Error> for RenameError {
    fn from(error: io::Error) -> Self {
        // By kind, since tempfile hides the error number behind the path that it adds.
        match error.kind() {
            // A mount point.
            ErrorKind::ResourceBusy | ErrorKind::CrossesDevices => Self::Impossible,
            // The directory, or an attribute, is not ours to write.
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::Impossible,
            _ => Self::Failed(error),
        }
    }
}

/// Puts `new` in the place of the file that `old` was read from.
pub(super) fn replace(target: &Path, old: &Snapshot, new: &[u8]) -> io::Result<Replaced> {
    match replace_by_rename(target, old, new) {
        Ok(replaced) => Ok(replaced),
        Err(RenameError::Impossible) => replace_in_place(target, old, new),
        Err(RenameError::Failed(error)) => Err(error),
    }
}

/// Makes a file that did not exist, with mode 0644.
pub(super) fn create(target: &Path, content: &[u8]) -> io::Result<Replaced> {
    let temporary = temporary_beside(target)?;
    temporary.as_file().write_all(content)?;
    temporary.as_file().set_permissions(Permissions::from_mode(0o644))?;
    temporary.as_file().sync_all()?;
    match temporary.persist_noclobber(target) {
        Ok(_) => {
            sync_directory(target);
            Ok(Replaced::Done(How::Renamed))
        }
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(Replaced::Raced),
        Err(error) => Err(error.error),
    }
}

/// Deletes a file that lbctl has made.
pub(super) fn delete(target: &Path, old: &Snapshot) -> io::Result<Replaced> {
    if !is_unchanged(target, old)? {
        return Ok(Replaced::Raced);
    }
    sweep(target);
    fs::remove_file(target)?;
    sync_directory(target);
    Ok(Replaced::Done(How::Deleted))
}

fn replace_by_rename(target: &Path, old: &Snapshot, new: &[u8]) -> Result<Replaced, RenameError> {
    // A file mounted from elsewhere. Known beforehand, so that a full disk under the directory does not matter.
    if fs::metadata(directory_of(target))?.dev() != old.file.metadata()?.dev() {
        return Err(RenameError::Impossible);
    }
    let temporary = temporary_beside(target)?;
    temporary.as_file().write_all(new)?;
    copy_attributes(&old.file, temporary.as_file())?;
    temporary.as_file().sync_all()?;
    if !is_unchanged(target, old)? {
        return Ok(Replaced::Raced);
    }
    temporary.persist(target).map_err(|error| error.error)?;
    sync_directory(target);
    Ok(Replaced::Done(How::Renamed))
}

fn replace_in_place(target: &Path, old: &Snapshot, new: &[u8]) -> io::Result<Replaced> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().write(true).custom_flags(flags.bits().cast_signed()).open(target)?;
    if Stamp::of(&file.metadata()?) != old.stamp {
        return Ok(Replaced::Raced);
    }
    let len = old.content.len() as u64;
    let mut undoable = true;
    for step in in_place::steps(&old.content, new) {
        undoable &= step.keeps_first(len);
        if let Err(error) = perform(&file, &step) {
            if undoable {
                // All the old bytes stand. Should this fail too, what follows them are comments, or what was to
                // come anyway.
                let _ = file.set_len(len).and_then(|()| file.sync_all());
            }
            return Err(error);
        }
    }
    Ok(Replaced::Done(How::InPlace))
}

fn perform(file: &File, step: &Step) -> io::Result<()> {
    match step {
        Step::WriteAt { offset, bytes } => file.write_all_at(bytes, *offset)?,
        Step::SetLen(len) => file.set_len(*len)?,
    }
    file.sync_all()
}

fn is_unchanged(target: &Path, old: &Snapshot) -> io::Result<bool> {
    match fs::symlink_metadata(target) {
        Ok(metadata) => Ok(Stamp::of(&metadata) == old.stamp),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Owner first: changing it clears set-id bits and capabilities.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let (wanted, given) = (from.metadata()?, to.metadata()?);
    if (wanted.uid(), wanted.gid()) != (given.uid(), given.gid()) {
        fchown(to, Some(Uid::from_raw(wanted.uid())), Some(Gid::from_raw(wanted.gid())))?;
    }
    to.set_permissions(Permissions::from_mode(wanted.mode() & 0o7777))?;
    let mut list = vec![0; XATTR_MAX];
    let len = match flistxattr(from, &mut list[..]) {
        Ok(len) => len,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in list[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if !INTEGRITY_XATTRS.contains(&name) {
            copy_attribute(from, to, name)?;
        }
    }
    Ok(())
}

fn copy_attribute(from: &File, to: &File, name: &[u8]) -> Result<(), Errno> {
    let mut value = vec![0; XATTR_MAX];
    let len = match fgetxattr(from, name, &mut value[..]) {
        Ok(len) => len,
        // Gone since it was listed, or not for us to see.
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut existing = vec![0; XATTR_MAX];
    if fgetxattr(to, name, &mut existing[..]).is_ok_and(|have| existing[..have] == value[..len]) {
        return Ok(());
    }
    match fsetxattr(to, name, &value[..len], XattrFlags::empty()) {
        Ok(()) | Err(Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error),
    }
}

fn temporary_beside(target: &Path) -> io::Result<NamedTempFile> {
    sweep(target);
    tempfile::Builder::new().prefix(&temporary_prefix(target)).tempfile_in(directory_of(target))
}

fn temporary_prefix(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".lbctl-");
    prefix
}

/// Deletes temporary files that a killed process has left. That it fails is no reason not to go on.
fn sweep(target: &Path) {
    let prefix = temporary_prefix(target);
    let Ok(entries) = fs::read_dir(directory_of(target)) else { return };
    let stale = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STALE_AFTER))
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        if ours && stale(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the rename durable. The new content is in place already and readable, so failure changes nothing.
fn sync_directory(target: &Path) {
    if let Ok(directory) = File::open(directory_of(target)) {
        let _ = directory.sync_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_else_has_written_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        for write in [replace, replace_in_place, |path: &Path, old: &Snapshot, _: &[u8]| delete(path, old)] {
            fs::write(&path, "127.0.0.1 localhost\n").unwrap();
            let old = Snapshot::read(&path).unwrap();
            fs::write(&path, "127.0.0.1 localhost\n10.0.0.7 db\n").unwrap();
            assert!(matches!(write(&path, &old, b"new\n"), Ok(Replaced::Raced)));
            assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n10.0.0.7 db\n");
        }
        assert!(matches!(create(&path, b"new\n"), Ok(Replaced::Raced)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_old_temporary_files_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let [stale, fresh] = [".hosts.lbctl-a", ".hosts.lbctl-b"].map(|name| dir.path().join(name));
        fs::write(&fresh, "").unwrap();
        let long_ago = SystemTime::now() - 2 * STALE_AFTER;
        File::create(&stale).unwrap().set_modified(long_ago).unwrap();
        sweep(&path);
        assert!(fresh.exists() && !stale.exists());
    }
}
