//! The IPVS settings of this network namespace: /proc/sys/net/ipv4/vs,
//! [ipvs-sysctl](https://docs.kernel.org/networking/ipvs-sysctl.html).
//!
//! What they were before is remembered in `<stateDir>/sysctls.json`, so that they can be put back: once for each
//! boot, however often the agent starts. The next boot begins with the kernel's defaults, and what was remembered of
//! an earlier one is worth nothing.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use lb_core::model::Scope;
use serde::{Deserialize, Serialize};

/// Within `stateDir`.
const NAME: &str = "sysctls.json";
/// Exists while IPVS does. It shows the settings of the reader's network namespace.
const SETTINGS: &str = "/proc/sys/net/ipv4/vs";
/// A new one for each boot, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The kernel's release, uname(2).
const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// Since Linux 5.9 a port that is used again is rescheduled without the loss of a packet while conn_reuse_mode is 1
/// and conntrack is on.
const REUSE_WORKS: (u32, u32) = (5, 9);

/// A setting that this dataplane needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sysctl {
    /// Connections through IPVS are known to conntrack, without which they cannot be masqueraded.
    Conntrack,
    /// A connection whose backend is no destination any more ends at its next packet, instead of hanging.
    ExpireNodestConn,
    /// What to do with a client's port that is used again: 1 chooses a backend anew.
    ConnReuseMode,
}

impl Sysctl {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Conntrack, Self::ExpireNodestConn, Self::ConnReuseMode];

    /// The name of its file.
    fn file(self) -> &'static str {
        match self {
            Self::Conntrack => "conntrack",
            Self::ExpireNodestConn => "expire_nodest_conn",
            Self::ConnReuseMode => "conn_reuse_mode",
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net.ipv4.vs.{}", self.file())
    }
}

/// The values that a scope needs on this kernel. What is not in it does not matter.
pub fn wanted(scope: Scope) -> BTreeMap<Sysctl, u32> {
    // A kernel that does not say its version is taken for a new one.
    wanted_on(scope, fs::read_to_string(RELEASE).ok().as_deref().and_then(version).unwrap_or(REUSE_WORKS))
}

fn wanted_on(scope: Scope, kernel: (u32, u32)) -> BTreeMap<Sysctl, u32> {
    let reuse = u32::from(kernel >= REUSE_WORKS);
    let mut wanted = BTreeMap::from([(Sysctl::ExpireNodestConn, 1), (Sysctl::ConnReuseMode, reuse)]);
    match scope {
        Scope::Node => _ = wanted.insert(Sysctl::Conntrack, 1),
        Scope::Host => {}
    }
    wanted
}

/// `6.1.0-18-amd64`: 6 and 1.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The values in force, without those that this kernel does not have. Empty while IPVS is not there.
///
/// # Errors
/// When one cannot be read.
pub fn observe() -> io::Result<BTreeMap<Sysctl, u32>> {
    Settings::of_this_namespace().observe()
}

/// Sets a value, and before that remembers on disk the one that it had, unless an earlier one is remembered.
///
/// # Errors
/// When `state_dir` or the setting cannot be written.
pub fn set(state_dir: &Path, sysctl: Sysctl, value: u32) -> io::Result<()> {
    Settings::of_this_namespace().set(state_dir, sysctl, value)
}

/// Puts back the values that were there before, save those that somebody else has changed since. A line for each that
/// was put back.
///
/// # Errors
/// When a setting cannot be written; it is then still remembered.
pub fn restore(state_dir: &Path) -> io::Result<Vec<String>> {
    Settings::of_this_namespace().restore(state_dir)
}

/// What is remembered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    boot_id: String,
    values: BTreeMap<Sysctl, Value>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Value {
    /// Before us.
    original: u32,
    /// The one that we set.
    ours: u32,
}

/// Where the settings are, and the boot that they belong to.
struct Settings {
    dir: PathBuf,
    boot_id: io::Result<String>,
}

impl Settings {
    fn of_this_namespace() -> Self {
        let boot_id = fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned());
        Self { dir: SETTINGS.into(), boot_id }
    }

    fn observe(&self) -> io::Result<BTreeMap<Sysctl, u32>> {
        let values = Sysctl::ALL.map(|sysctl| Ok(self.read(sysctl)?.map(|value| (sysctl, value))));
        values.into_iter().filter_map(io::Result::transpose).collect()
    }

    fn set(&self, state_dir: &Path, sysctl: Sysctl, value: u32) -> io::Result<()> {
        let Some(original) = self.read(sysctl)? else {
            let text =
                format!("set {sysctl}: this kernel does not have it (hint: is the module ip_vs loaded?)");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        };
        if original == value {
            return Ok(());
        }
        let mut remembered = self.remembered(state_dir)?;
        let entry = remembered.values.entry(sysctl).or_insert(Value { original, ours: value });
        entry.ours = value;
        save(state_dir, &remembered)?;
        self.write(sysctl, value)
    }

    fn restore(&self, state_dir: &Path) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        for (sysctl, Value { original, ours }) in self.remembered(state_dir)?.values {
            if self.read(sysctl)? == Some(ours) && ours != original {
                self.write(sysctl, original)?;
                lines.push(format!("{sysctl}: {ours} -> {original}"));
            }
        }
        match fs::remove_file(state_dir.join(NAME)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named("remove", &state_dir.join(NAME))(e)),
            _ => Ok(lines),
        }
    }

    /// What is remembered of this boot. A file that cannot be understood says nothing that could be put back.
    fn remembered(&self, state_dir: &Path) -> io::Result<Remembered> {
        let boot_id = match &self.boot_id {
            Ok(boot_id) => boot_id.clone(),
            Err(e) => return Err(named("read", Path::new(BOOT_ID))(io::Error::from(e.kind()))),
        };
        let path = state_dir.join(NAME);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(named("read", &path)(e)),
        };
        let known = serde_json::from_slice::<Remembered>(&content).ok();
        let of_this_boot = known.filter(|known| known.boot_id == boot_id);
        Ok(of_this_boot.unwrap_or(Remembered { boot_id, values: BTreeMap::new() }))
    }

    fn read(&self, sysctl: Sysctl) -> io::Result<Option<u32>> {
        let path = self.dir.join(sysctl.file());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(named("read", &path)(e)),
        };
        text.trim().parse().map(Some).map_err(|e| named("read", &path)(io::Error::other(e)))
    }

    fn write(&self, sysctl: Sysctl, value: u32) -> io::Result<()> {
        let path = self.dir.join(sysctl.file());
        fs::write(&path, value.to_string()).map_err(named("write", &path))
    }
}

/// The new file takes the old one's place once it is on disk.
fn save(state_dir: &Path, remembered: &Remembered) -> io::Result<()> {
    let path = state_dir.join(NAME);
    let write = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        let mut temporary = tempfile::Builder::new().prefix(".sysctls.json.").tempfile_in(state_dir)?;
        serde_json::to_writer_pretty(&mut temporary, remembered)?;
        temporary.write_all(b"\n")?;
        temporary.as_file().sync_all()?;
        temporary.persist(&path).map_err(|e| e.error)?;
        fs::File::open(state_dir)?.sync_all()
    };
    write().map_err(named("write", &path))
}

/// For `map_err`: names the operation and the file, and keeps the kind.
fn named<'a>(operation: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> io::Error + 'a {
    move |e| io::Error::new(e.kind(), format!("{operation} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests;
