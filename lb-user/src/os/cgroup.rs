//! The cgroup-v2 hierarchy: where its true root is.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::mountinfo::{self, Mount};
use crate::dataplane::DataplaneError;

/// A file of every cgroup but the true root of the hierarchy (cgroup_base_files, kernel/cgroup/cgroup.c:
/// CFTYPE_NOT_ON_ROOT). A container whose cgroup namespace shows its own cgroup as `/` has it there too.
const NOT_ON_ROOT: &str = "cgroup.type";

/// The root of the hierarchy, wherever it is mounted (/sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host).
///
/// # Errors
/// [`DataplaneError::Missing`] where cgroup v2 is not mounted, or only a part of the tree can be seen: programs on
/// that part would miss the rest of the node.
pub fn root() -> Result<PathBuf, DataplaneError> {
    let mounts = mountinfo::read().map_err(DataplaneError::failed("read", "/proc/self/mountinfo"))?;
    let found = root_of(&mounts, |dir| !is_root(dir));
    found.map_err(|Missing { what, remedy }| DataplaneError::Missing { what, remedy: remedy.to_owned() })
}

/// Whether a directory of the hierarchy is its true root: then every process of the node lives below it.
pub fn is_root(cgroup: &Path) -> bool {
    !cgroup.join(NOT_ON_ROOT).exists()
}

#[derive(Debug, PartialEq, Eq)]
struct Missing {
    what: String,
    remedy: &'static str,
}

fn root_of(mounts: &[Mount], is_inner: impl Fn(&Path) -> bool) -> Result<PathBuf, Missing> {
    let unified: Vec<_> = mounts.iter().filter(|mount| mount.kind == "cgroup2").collect();
    if unified.is_empty() {
        return Err(Missing {
            what: "cgroup v2 is not mounted on this host".to_owned(),
            remedy: "mount it (mount -t cgroup2 none /sys/fs/cgroup/unified), or set dataplane: ipvs",
        });
    }
    let whole = |mount: &&&Mount| is_upwards(&mount.root) && !is_inner(&mount.target);
    if let Some(mount) = unified.iter().find(whole) {
        return Ok(mount.target.clone());
    }
    Err(Missing {
        what: format!(
            "only a part of the cgroup-v2 tree can be seen here ({}): the cgroup namespace of a container",
            unified[0].target.display()
        ),
        remedy: "mount the host's cgroup root into the container and set `cgroup:` to it",
    })
}

/// Whether a mount shows the tree from the reader's own root, or from above it: a container that has a cgroup namespace of its
/// own sees the host's root as `/../..` (cgroup_show_path, kernel/cgroup/cgroup.c).
fn is_upwards(root: &Path) -> bool {
    root.components().all(|part| matches!(part, Component::RootDir | Component::ParentDir))
}

/// The cgroup that a config asks for: one that it names, else the root.
pub fn find(named_by_config: Option<&Path>) -> Result<PathBuf, DataplaneError> {
    named_by_config.map_or_else(root, named)
}

/// A cgroup named in the config: it must be a cgroup-v2 directory.
fn named(path: &Path) -> Result<PathBuf, DataplaneError> {
    if path.join("cgroup.procs").exists() && path.join("cgroup.controllers").exists() {
        return Ok(path.to_owned());
    }
    Err(DataplaneError::Missing {
        what: format!("{} is not a cgroup-v2 directory", path.display()),
        remedy: "set `cgroup:` to auto, or to a directory below the cgroup-v2 mount".to_owned(),
    })
}

/// The directory of this process's own cgroup, as far as it can be seen from here.
pub fn own_directory() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(io::ErrorKind::NotFound)?;
    let mounts = mountinfo::read()?;
    let mount = mounts.iter().find(|mount| mount.kind == "cgroup2" && mount.root == Path::new("/"));
    Ok(mount.ok_or(io::ErrorKind::NotFound)?.target.join(path))
}

/// Moves this process into a cgroup.
pub fn enter(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, root: &str, target: &str) -> Mount {
        Mount { root: root.into(), target: target.into(), kind: kind.into(), source: "none".into() }
    }

    #[test]
    fn a_hybrid_host_has_its_root_beside_the_old_hierarchies() {
        let mounts = [
            mount("tmpfs", "/", "/sys/fs/cgroup"),
            mount("cgroup", "/", "/sys/fs/cgroup/cpu"),
            mount("cgroup2", "/", "/sys/fs/cgroup/unified"),
        ];
        assert_eq!(root_of(&mounts, |_| false), Ok("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn without_cgroup_v2_the_remedy_names_another_dataplane() {
        let missing = root_of(&[mount("cgroup", "/", "/sys/fs/cgroup/cpu")], |_| false).unwrap_err();
        assert!(missing.remedy.contains("ipvs"), "{missing:?}");
    }

    #[test]
    fn a_containers_own_root_is_not_taken_for_the_true_one() {
        let mounts = [mount("cgroup2", "/", "/sys/fs/cgroup"), mount("cgroup2", "/", "/host/cgroup")];
        let inner = |dir: &Path| dir == Path::new("/sys/fs/cgroup");
        assert_eq!(root_of(&mounts, inner), Ok("/host/cgroup".into()));
        assert!(root_of(&mounts[..1], inner).unwrap_err().what.contains("part of the cgroup-v2 tree"));
    }

    #[test]
    fn a_container_finds_the_hosts_root_that_was_mounted_into_it() {
        let mounts = [mount("cgroup2", "/", "/sys/fs/cgroup"), mount("cgroup2", "/../../..", "/host/cgroup")];
        let inner = |dir: &Path| dir == Path::new("/sys/fs/cgroup");
        assert_eq!(root_of(&mounts, inner), Ok("/host/cgroup".into()));
        let neighbour = mount("cgroup2", "/../../other", "/host/cgroup");
        assert!(root_of(&[neighbour], |_| false).is_err(), "a part of the tree beside the container's own");
    }

    #[test]
    fn a_bind_mounted_part_of_the_tree_is_not_the_root() {
        assert!(root_of(&[mount("cgroup2", "/kubepods", "/sys/fs/cgroup")], |_| false).is_err());
    }
}
