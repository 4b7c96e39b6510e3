//! Peers are installed to be started by the benchmarks alone: not as services, neither now nor at the next boot.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    process,
    setup::{self, Purpose},
    terminal,
};

/// What Debian's packages ask whether they may start a service (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101: no.
const FORBID: &str = "#!/bin/sh\nexit 101\n";
const SERVICES: [&str; 2] = ["haproxy.service", "nginx.service"];

/// Installs what is missing for the benchmarks.
///
/// # Errors
/// As [`setup::ensure`], and when the start of services cannot be forbidden.
pub(super) fn install_peers() -> Result<()> {
    if setup::is_complete(&[Purpose::Benchmarks]) {
        return Ok(());
    }
    let _policy = Policy::forbid()?;
    setup::ensure(&[Purpose::Benchmarks])?;
    // Where there is no systemd, nothing starts them.
    if process::run(process::command("systemctl").args(["--quiet", "disable"]).args(SERVICES)).is_err() {
        terminal::warning("haproxy and nginx are installed now; systemctl could not disable their services");
    }
    Ok(())
}

/// Forbids the start of services until it is dropped; none where the machine has a policy of its own.
struct Policy(Option<&'static Path>);

impl Policy {
    fn forbid() -> Result<Self> {
        let path = Path::new(POLICY);
        if path.exists() {
            return Ok(Self(None));
        }
        let policy = Self(Some(path));
        fs::write(path, FORBID).with_context(|| format!("failed to write {POLICY}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("failed to make {POLICY} executable"))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let Some(path) = self.0 else { return };
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                terminal::error(&format!("failed to remove {POLICY}: {error}; hint: remove it by hand"));
            }
            Ok(()) | Err(_) => {}
        }
    }
}
