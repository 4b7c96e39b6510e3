//! cgroup-v2 groups that vanish when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// rmdir fails with EBUSY until the last member is reaped.
const REMOVE_DEADLINE: Duration = Duration::from_secs(5);

/// Where the cgroup-v2 hierarchy is mounted; on hybrid hosts that is /sys/fs/cgroup/unified.
///
/// # Errors
/// When /proc/self/mountinfo cannot be read or lists no cgroup2.
pub fn root() -> anyhow::Result<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    mount_point(&mountinfo).context("find a cgroup2 mount; hint: mount -t cgroup2 none /mnt")
}

/// The mount point (field 5) of the first file system of type cgroup2 (first field after ` - `): proc(5).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_cgroup2 = file_system.split(' ').next() == Some("cgroup2");
        if is_cgroup2 { mount.split(' ').nth(4).map(PathBuf::from) } else { None }
    })
}

/// A group directly below the root of the hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the group `name`.
    ///
    /// # Errors
    /// When there is no cgroup2 or the directory cannot be made.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let path = root()?.join(name);
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that takes pids.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    fn remove(&self) -> Result<(), String> {
        let members = fs::read_to_string(self.procs()).map_err(|error| error.to_string())?;
        for pid in members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
            // One that is gone by now is what we want.
            let _ = kill_process(pid, Signal::KILL);
        }
        remove_tree(&self.path).map_err(|error| error.to_string())
    }
}

/// rmdir, deepest first: the files in a cgroup directory are not removed one by one.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = eventually(REMOVE_DEADLINE, "the cgroup is removed", || self.remove()) {
            eprintln!("failed to remove the cgroup {}: {error:#}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cgroup2_mount_of_a_hybrid_host() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mountinfo), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn finds_no_mount_where_only_version_1_is_mounted() {
        assert_eq!(mount_point("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}
