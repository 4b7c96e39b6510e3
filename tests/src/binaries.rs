//! Where the programs under test lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Path of the `lbctl` to test; without it, the one built beside the test.
pub const LBCTL_BIN: &str = "LBCTL_BIN";

/// Path of the container image to test, as `cargo xtask image` writes it.
pub const IMAGE: &str = "LBCTL_TEST_IMAGE";

/// The agent and command-line program.
///
/// # Errors
/// When it is not built.
pub fn lbctl() -> anyhow::Result<PathBuf> {
    match std::env::var_os(LBCTL_BIN) {
        Some(path) if Path::new(&path).is_file() => Ok(path.into()),
        Some(path) => bail!("find lbctl: {LBCTL_BIN} says {}, where no file is", path.display()),
        None => beside("lbctl", "lb-user"),
    }
}

/// The container image.
///
/// # Errors
/// When nobody says where it is.
pub fn image() -> anyhow::Result<PathBuf> {
    match std::env::var_os(IMAGE) {
        Some(path) if Path::new(&path).is_file() => Ok(path.into()),
        Some(path) => bail!("find the image: {IMAGE} says {}, where no file is", path.display()),
        None => bail!("find the image (hint: cargo xtask image, and its path as {IMAGE})"),
    }
}

/// The apiserver stand-in.
///
/// # Errors
/// When it is not built.
pub fn standin() -> anyhow::Result<PathBuf> {
    beside("apiserver-standin", "lb-tests")
}

/// The lab's client.
///
/// # Errors
/// When it is not built.
pub fn client() -> anyhow::Result<PathBuf> {
    beside("lab-client", "lb-tests")
}

/// Cargo puts binaries into `target/PROFILE` and tests into `target/PROFILE/deps`.
fn beside(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("find the running executable")?;
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("find the binary {name} (hint: cargo build -p {package})"))
}
