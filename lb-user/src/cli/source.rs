//! Where the configuration comes from, for commands that read it once and for the agent, which reads it again.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use lb_core::config::{self, Config, ConfigErrors, MAX_FILE_BYTES, Overrides};

/// The config file that is read when none is named.
pub const DEFAULT_PATH: &str = "/etc/lbctl/config.yaml";

/// A file, or none, and what flags and environment say on top of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSource {
    /// The config file; `None`: there are only flags.
    pub path: Option<PathBuf>,
    /// What wins over the file.
    pub overrides: Overrides,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigSourceError {
    /// The file cannot be read.
    #[error("read config file {}{}", path.display(), remedy(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says, or what the flags say, is wrong: one line for each mistake.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => " (hint: name another with --config)",
        io::ErrorKind::PermissionDenied => " (hint: run as root)",
        _ => "",
    }
}

impl ConfigSource {
    /// The file that was named, which must exist, else [`DEFAULT_PATH`] if that exists.
    pub fn find(named: Option<&Path>, overrides: Overrides) -> Self {
        let default = Path::new(DEFAULT_PATH);
        // What cannot be told from here is there: reading it then says why it cannot be read.
        let exists = || default.try_exists().unwrap_or(true);
        let path = named.or_else(|| exists().then_some(default)).map(Path::to_owned);
        Self { path, overrides }
    }

    /// Reads and validates.
    ///
    /// # Errors
    /// When the file cannot be read, or has more than [`MAX_FILE_BYTES`], or anything in it or in the flags is wrong.
    pub fn load(&self) -> Result<Config, ConfigSourceError> {
        let Some(path) = &self.path else {
            return Ok(config::load(None, &self.overrides)?);
        };
        let text =
            read_bounded(path).map_err(|source| ConfigSourceError::Read { path: path.clone(), source })?;
        Ok(config::load(Some((&path.to_string_lossy(), &text)), &self.overrides)?)
    }
}

/// Reads a file of bounded size, whatever it says about its size: it may be a pipe.
pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        let why = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 text, at byte {at}"))
    })
}
