//! virtme-ng, which makes qemu boot a kernel on the host's own root directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cache;
use crate::{process, terminal};

/// The version whose options `machine` knows.
const REQUIREMENT: &str = "virtme-ng==1.42";
const PYTHON: &str = "/usr/bin/python3";

/// The directory of its programs, which it wants in the search path. Installs it into a Python environment of its
/// own, unless that has been done.
///
/// # Errors
/// When Python or PyPI fail.
pub(super) fn ensure() -> Result<PathBuf> {
    let dir = cache::dir()?.join(REQUIREMENT.replace("==", "-"));
    let installed = dir.join("installed");
    cache::once(&installed, |_| {
        terminal::step(&format!("installing {REQUIREMENT}"));
        install(&dir.join("venv")).with_context(|| format!("failed to install {REQUIREMENT}"))
    })?;
    Ok(dir.join("venv/bin"))
}

/// A Python environment cannot be moved, so it is made where it stays.
fn install(venv: &Path) -> Result<()> {
    process::run(process::command(PYTHON).args(["-m", "venv", "--clear"]).arg(venv))?;
    let pip = venv.join("bin/pip");
    process::run(process::command(&pip.to_string_lossy()).args(["install", "--quiet", REQUIREMENT]))
}
