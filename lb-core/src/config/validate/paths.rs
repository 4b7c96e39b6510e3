use std::path::{Component, Path, PathBuf};

use super::{FieldPath, Problem, Report};

/// Where systemd and every distribution mount the BPF file system.
const BPFFS_MOUNT: &str = "/sys/fs/bpf";

/// The longest path of a unix socket in bytes: `sun_path` is 108 with the terminating NUL (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// A path that begins with `/`, or the default.
pub(super) fn absolute(
    raw: &Option<String>,
    default: &str,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    match raw {
        None => Some(PathBuf::from(default)),
        Some(text) => absolute_or(text, "", path, report),
    }
}

/// A path that begins with `/`; `or` is what else could be written, for the hint.
pub(super) fn absolute_or(
    text: &str,
    or: &'static str,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    if text.contains('\0') {
        report.add(path, Problem::NulInPath);
        return None;
    }
    if !Path::new(text).is_absolute() {
        report.add(path, Problem::NotAbsolute { text: text.to_owned(), or });
        return None;
    }
    Some(PathBuf::from(text))
}

/// `auto`, which is the default, or the path of a cgroup.
pub(super) fn cgroup(
    raw: &Option<String>,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<Option<PathBuf>> {
    match raw.as_deref() {
        None | Some("auto") => Some(None),
        Some(text) => absolute_or(text, "auto", path, report).map(Some),
    }
}

/// The directory of pins. bpffs refuses names with dots (`bpf_lookup` in the kernel's `kernel/bpf/inode.c`). What is
/// a bpffs is known only for its usual mount; elsewhere at least our own directory, the last name, is in one.
pub(super) fn bpffs(raw: &Option<String>, path: &FieldPath, report: &mut Report<'_>) -> Option<PathBuf> {
    let dir = absolute(raw, "/sys/fs/bpf/lbctl", path, report)?;
    let pinned = match dir.strip_prefix(BPFFS_MOUNT) {
        Ok(below) => below,
        Err(_) => Path::new(dir.file_name().unwrap_or_default()),
    };
    let dotted = pinned.components().find_map(|component| {
        let name = component.as_os_str().to_string_lossy();
        (component == Component::ParentDir || name.contains('.')).then(|| name.into_owned())
    });
    if let Some(name) = dotted {
        report.add(path, Problem::DotInBpffs { name });
        return None;
    }
    Some(dir)
}

/// The path of a unix socket.
pub(super) fn socket(raw: &Option<String>, path: &FieldPath, report: &mut Report<'_>) -> Option<PathBuf> {
    let socket = absolute(raw, "/run/lbctl/lbctl.sock", path, report)?;
    let bytes = socket.as_os_str().len();
    if bytes > SOCKET_PATH_MAX {
        report.add(path, Problem::SocketPathTooLong { bytes, max: SOCKET_PATH_MAX });
        return None;
    }
    Some(socket)
}
