//! What a command knows of the configuration when it must work even without a good one.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lb_core::config::{self, Config, Overrides};

use super::{
    globals::Globals,
    print,
    source::{ConfigSource, ConfigSourceError},
};
use crate::admin::Client;

/// The configuration, or at least where things are.
pub(super) struct Known {
    /// `None`: there is none that can be read.
    pub(super) config: Option<Config>,
    /// Where things are: as the config says, or the flags, or by default.
    pub(super) paths: Paths,
}

/// Where the agent leaves things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) bpffs: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) hosts: PathBuf,
    pub(super) admin_socket: PathBuf,
}

impl From<&Config> for Paths {
    fn from(config: &Config) -> Self {
        Self {
            bpffs: config.bpffs.clone(),
            state_dir: config.state_dir.clone(),
            hosts: config.hosts.path.clone(),
            admin_socket: config.admin_socket.clone(),
        }
    }
}

impl Known {
    /// Takes the config, and where that is wrong the paths that can be read in it all the same, with a note on
    /// stderr: a mistake in the config must not hide the agent that says so. Without a config: the default paths.
    ///
    /// # Errors
    /// When a flag for a path is wrong itself.
    pub(super) fn find(named: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigSourceError> {
        let source = ConfigSource::find(named, overrides);
        if source.path.is_none() {
            return Ok(Self { config: None, paths: Paths::of_flags(&source.overrides)? });
        }
        match source.load() {
            Ok(config) => Ok(Self { paths: Paths::from(&config), config: Some(config) }),
            Err(error) => {
                let written = source.path.as_deref().map(written_paths).unwrap_or_default();
                // What is written may be what is wrong.
                let paths = Paths::of_flags(&filled(&source.overrides, written))
                    .or_else(|_| Paths::of_flags(&source.overrides))?;
                let error = anyhow::Error::new(error);
                print::note(format_args!(
                    "{}; going on with the paths that it names, else the default ones",
                    print::chain(&error)
                ));
                Ok(Self { config: None, paths })
            }
        }
    }
}

/// The paths that a config names, whatever else is wrong with it, as long as it is YAML.
fn written_paths(file: &Path) -> Overrides {
    let text = super::source::read_bounded(file).unwrap_or_default();
    let tree: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_default();
    let text = |value: &serde_yaml::Value| value.as_str().map(str::to_owned);
    Overrides {
        bpffs: text(&tree["bpffs"]),
        state_dir: text(&tree["stateDir"]),
        hosts_path: text(&tree["hosts"]["path"]),
        admin_socket: text(&tree["admin"]["socket"]),
        ..Overrides::default()
    }
}

/// What the flags say, and where they say nothing what is written.
fn filled(flags: &Overrides, written: Overrides) -> Overrides {
    let either = |flag: &Option<String>, written| flag.clone().or(written);
    Overrides {
        bpffs: either(&flags.bpffs, written.bpffs),
        state_dir: either(&flags.state_dir, written.state_dir),
        hosts_path: either(&flags.hosts_path, written.hosts_path),
        admin_socket: either(&flags.admin_socket, written.admin_socket),
        ..Overrides::default()
    }
}

impl Paths {
    /// The paths of flags alone, and the default ones where they say nothing. The service is a stand-in, since no config
    /// is valid without one; its addresses are those for documentation, RFC 5737.
    ///
    /// # Errors
    /// When one of them is wrong.
    pub(super) fn of_flags(overrides: &Overrides) -> Result<Self, ConfigSourceError> {
        let overrides = Overrides {
            vip: Some("192.0.2.1:1".to_owned()),
            backends: vec!["192.0.2.2:1".to_owned()],
            bpffs: overrides.bpffs.clone(),
            state_dir: overrides.state_dir.clone(),
            hosts_path: overrides.hosts_path.clone(),
            admin_socket: overrides.admin_socket.clone(),
            ..Overrides::default()
        };
        Ok(Self::from(&config::load(None, &overrides)?))
    }
}

/// A client of the agent that the flags or the config point at.
pub(super) fn client(globals: &Globals) -> Result<Client, ConfigSourceError> {
    if let Some(socket) = &globals.admin_socket {
        return Ok(Client::new(socket));
    }
    let known = Known::find(globals.config.as_deref(), Overrides::default())?;
    Ok(Client::new(known.paths.admin_socket))
}

/// Waits for one exchange with the agent; the client has a deadline of its own.
pub(super) fn wait_for<T>(exchange: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("failed to start the tokio runtime")?.block_on(exchange))
}
