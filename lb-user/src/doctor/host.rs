use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// The longest file that is read. The longest of them, modules.dep, has about 700 KiB on a distribution's kernel.
const MOST_BYTES: u64 = 4 << 20;

/// The most files of one directory that are looked at: drop-ins and manifests come in handfuls.
const MOST_FILES: usize = 256;

/// The files of the host, which may lie below another directory than `/`.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The host whose `/` is `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where an absolute path of the host is to be found.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text, with what is not UTF-8 replaced; `None`: there is no such file.
    ///
    /// # Errors
    /// Anything but its absence; a file longer than 4 MiB, and what is no file: a pipe would be waited for.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> io::Result<Option<String>> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(self.path(path)) {
            Err(error) if is_absent(&error) => return Ok(None),
            file => file?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            let why = format!("it has more than {MOST_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The paths in a directory whose names end so, sorted by name; none where there is no such directory.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub(super) fn list(&self, directory: &str, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.path(directory)) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
        let wanted = |name: &std::ffi::OsString| {
            endings.iter().any(|ending| name.as_encoded_bytes().ends_with(ending.as_bytes()))
        };
        let mut paths: Vec<_> =
            names.filter(wanted).take(MOST_FILES).map(|name| Path::new(directory).join(name)).collect();
        paths.sort();
        Ok(paths)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_none_and_a_pipe_is_an_error_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(dir.path());
        assert_eq!(host.read("/etc/environment").unwrap(), None);
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/environment"), b"A=\xff").unwrap();
        assert_eq!(host.read("/etc/environment").unwrap().unwrap(), "A=\u{fffd}");
        let pipe = dir.path().join("etc/pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert!(host.read("/etc/pipe").is_err());
        assert!(host.read("/etc").is_err());
    }

    #[test]
    fn a_file_that_is_far_too_long_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::File::create(dir.path().join("long")).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(Host::new(dir.path()).read("/long").is_err());
    }

    #[test]
    fn a_directory_is_listed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(dir.path());
        assert!(host.list("/d", &[".conf"]).unwrap().is_empty());
        fs::create_dir(dir.path().join("d")).unwrap();
        for name in ["b.conf", "a.conf", "c.bak"] {
            fs::write(dir.path().join("d").join(name), "").unwrap();
        }
        assert_eq!(host.list("/d", &[".conf"]).unwrap(), [Path::new("/d/a.conf"), Path::new("/d/b.conf")]);
    }
}
