//! The BPF file system: what is pinned there outlives the agent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::mountinfo;
use crate::dataplane::DataplaneError;

/// Where systemd mounts it; the kernel provides the empty directory.
const STANDARD: &str = "/sys/fs/bpf";

/// The source that marks a mount as ours, for [`release`].
const MARK: &str = "lbctl";

/// Makes sure that `directory` exists and lies on a bpffs: mounts one where there is none, at /sys/fs/bpf for a
/// directory below that, else at the directory itself.
pub fn ensure(directory: &Path) -> Result<(), DataplaneError> {
    if !lies_on_bpffs(directory)? {
        let target = mount_point(directory);
        let object = target.display().to_string();
        fs::create_dir_all(&target).map_err(DataplaneError::denied(
            "create",
            object.clone(),
            "CAP_DAC_OVERRIDE",
        ))?;
        mount(MARK, &target, "bpf", MountFlags::empty(), Some(c"mode=0700"))
            .map_err(|errno| mount_failed(errno, object))?;
        tracing::info!(target = %target.display(), "mounted a BPF file system");
    }
    fs::create_dir_all(directory).map_err(DataplaneError::denied(
        "create",
        directory.display().to_string(),
        "CAP_DAC_OVERRIDE",
    ))
}

/// Takes away what [`ensure`] made: the empty directory, and the mount if it was ours and nothing else is pinned in
/// it.
pub fn release(directory: &Path) -> Result<(), DataplaneError> {
    let mounts = mountinfo::read().map_err(DataplaneError::failed("read", "/proc/self/mountinfo"))?;
    let Some(own) = mountinfo::containing(&mounts, directory).filter(|m| m.kind == "bpf") else {
        return Ok(());
    };
    if directory != own.target {
        remove_empty(directory)?;
    }
    if own.source == MARK && nothing_pinned(&own.target) {
        unmount(&own.target, UnmountFlags::empty())
            .map_err(io::Error::from)
            .map_err(DataplaneError::denied("unmount", own.target.display().to_string(), "CAP_SYS_ADMIN"))?;
        if own.target != Path::new(STANDARD) {
            remove_empty(&own.target)?;
        }
    }
    Ok(())
}

/// Names with a dot, which nobody else may make on a bpffs, are the kernel's own (BPF_PRELOAD).
fn nothing_pinned(target: &Path) -> bool {
    let kernels_own = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().contains(&b'.');
    fs::read_dir(target).is_ok_and(|entries| entries.filter_map(Result::ok).all(|entry| kernels_own(&entry)))
}

fn remove_empty(directory: &Path) -> Result<(), DataplaneError> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        Err(e) => Err(DataplaneError::failed("remove", directory.display().to_string())(e)),
    }
}

/// Whether a directory, which need not exist yet, lies on a bpffs.
pub fn lies_on_bpffs(directory: &Path) -> Result<bool, DataplaneError> {
    let mounts = mountinfo::read().map_err(DataplaneError::failed("read", "/proc/self/mountinfo"))?;
    Ok(mountinfo::containing(&mounts, directory).is_some_and(|mount| mount.kind == "bpf"))
}

/// ENODEV, mount(2): the kernel does not know the file system.
fn mount_failed(errno: Errno, object: String) -> DataplaneError {
    match errno {
        Errno::NODEV => DataplaneError::Missing {
            what: "this kernel has no BPF file system".to_owned(),
            remedy: "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF".to_owned(),
        },
        errno => DataplaneError::denied("mount a bpffs at", object, "CAP_SYS_ADMIN")(errno.into()),
    }
}

fn mount_point(directory: &Path) -> PathBuf {
    if directory.starts_with(STANDARD) { STANDARD.into() } else { directory.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_bpffs_is_a_lack_and_a_refusal_names_the_capability() {
        let missing = mount_failed(Errno::NODEV, "/sys/fs/bpf".to_owned());
        assert!(matches!(missing, DataplaneError::Missing { .. }));
        let refused = mount_failed(Errno::PERM, "/sys/fs/bpf".to_owned());
        assert!(matches!(refused, DataplaneError::Permission { capability: "CAP_SYS_ADMIN", .. }));
    }

    #[test]
    fn below_the_standard_place_that_is_mounted_and_else_the_directory_itself() {
        assert_eq!(mount_point(Path::new("/sys/fs/bpf/lbctl")), Path::new("/sys/fs/bpf"));
        assert_eq!(mount_point(Path::new("/run/pins/lbctl")), Path::new("/run/pins/lbctl"));
    }
}
