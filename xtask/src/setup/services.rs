//! What is installed here is started by tests and benchmarks alone: not as services, neither now nor at the next boot.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use crate::{process, terminal};

/// What Debian's packages ask whether they may start a service (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101: no.
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// Runs `install`, which brings these services, and leaves none of them running that was not before.
///
/// # Errors
/// As `install`, and when the start of services cannot be forbidden.
pub(super) fn kept_from_starting(services: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    if services.is_empty() {
        return install();
    }
    let _policy = Policy::forbid()?;
    install()?;
    // Where there is no systemd, nothing starts them.
    if process::run(process::command("systemctl").args(["--quiet", "disable"]).args(services)).is_err() {
        terminal::warning(&format!("systemctl could not disable {}", services.join(", ")));
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
