//! /proc/self/mountinfo, proc(5).

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// The file system's type.
    pub kind: String,
    /// The source, as whoever mounted it named it.
    pub source: String,
}

/// Every mount that this process sees, in the order in which they were made.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(fs::read(Path::new("/proc/self/mountinfo"))?.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The mount that a path lies on: of those whose target is a parent, the longest, and of these the last.
pub fn containing<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let parents = mounts.iter().filter(|mount| path.starts_with(&mount.target));
    parents.max_by_key(|mount| mount.target.as_os_str().len())
}

/// `36 35 98:0 /root /target rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let root = unescape(fields.nth(3)?);
    let target = unescape(fields.next()?);
    let mut tail = fields.skip_while(|field| *field != b"-").skip(1);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(Mount { root, target, kind: text(tail.next()?), source: text(tail.next()?) })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_5_is_understood() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!(mount.root, Path::new("/mnt1"));
        assert_eq!(mount.target, Path::new("/mnt 2"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
    }

    #[test]
    fn a_line_without_optional_fields_is_understood() {
        let mount = parse(b"36 35 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw").unwrap();
        assert_eq!(mount.kind, "cgroup2");
    }

    #[test]
    fn a_broken_line_is_no_mount() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 35 0:26 / /sys"), None);
    }
}
