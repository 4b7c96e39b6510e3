use std::path::{Path, PathBuf};

use crate::config::Overrides;

/// How the agent gets its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The config file, if there is one.
    pub config_file: Option<PathBuf>,
    /// What flags say on top of it.
    pub overrides: Overrides,
}

impl Invocation {
    /// The arguments of `lbctl`, the command first, where some paths are others than on the node.
    pub(super) fn args(&self, command: &str, moved: &[(&str, String)]) -> Vec<String> {
        let is_moved = |flag: &str| moved.iter().any(|(name, _)| flag == *name);
        let config = self.config_file.iter().map(|path| ("config", shown(path)));
        let overrides = self.overrides.flags().into_iter().filter(|(flag, _)| !is_moved(flag));
        let moved = moved.iter().map(|(flag, value)| (*flag, value.clone()));
        let flags = config.chain(overrides).chain(moved).map(|(flag, value)| format!("--{flag}={value}"));
        std::iter::once(command.to_owned()).chain(flags).collect()
    }
}

pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
