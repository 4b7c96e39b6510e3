//! Network namespaces that vanish when dropped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::run;
use crate::wait::eventually;

/// SIGKILL takes a few milliseconds; a process in an uninterruptible wait may need more.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// A named network namespace with its loopback up.
///
/// Processes are brought into it by `nsenter --net=PATH`: `ip netns exec` would mount a fresh /sys over bpffs and cgroups.
#[derive(Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
}

impl Netns {
    /// Makes the namespace `name`.
    ///
    /// # Errors
    /// When ip(8) fails, as without root or when the name is taken.
    pub fn new(name: String) -> anyhow::Result<Self> {
        run(&["ip", "netns", "add", &name])?;
        let netns = Self { path: Path::new("/run/netns").join(&name), name };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Its name for ip(8).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to give to nsenter(1) or setns(2).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `ip -n NAME WORDS`.
    ///
    /// # Errors
    /// When ip(8) fails.
    pub fn ip(&self, words: &[&str]) -> anyhow::Result<String> {
        run(&[&["ip", "-n", &self.name], words].concat())
    }

    /// The processes whose current network namespace this is.
    ///
    /// # Errors
    /// When ip(8) fails.
    pub fn pids(&self) -> anyhow::Result<Vec<Pid>> {
        let text = run(&["ip", "netns", "pids", &self.name])?;
        Ok(text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect())
    }

    fn kill_all(&self) -> anyhow::Result<()> {
        eventually(KILL_DEADLINE, "processes left in the namespace end", || {
            let pids = self.pids().map_err(|error| error.to_string())?;
            for pid in &pids {
                // One that is gone by now is what we want.
                let _ = kill_process(*pid, Signal::KILL);
            }
            if pids.is_empty() { Ok(()) } else { Err(format!("{pids:?} still run in {}", self.name)) }
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = self.kill_all() {
            eprintln!("failed to empty the namespace {}: {error:#}", self.name);
        }
        if let Err(error) = run(&["ip", "netns", "del", &self.name]) {
            eprintln!("failed to delete the namespace {}: {error:#}", self.name);
        }
    }
}
