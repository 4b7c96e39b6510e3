//! Network namespaces that vanish when dropped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{feed, run};
use crate::wait::eventually;

/// SIGKILL takes a few milliseconds; a process in an uninterruptible wait may need more.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// A named network namespace with its loopback up.
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
        Ok(Self { path: Path::new("/run/netns").join(&name), name })
    }

    /// Its name for ip(8).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to give to setns(2).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs commands of ip(8) in it, one a line, up to the first that fails. In one go, since in an emulated machine
    /// each program that starts takes a while.
    ///
    /// # Errors
    /// When one fails: says which.
    pub fn ip(&self, lines: &[String]) -> anyhow::Result<()> {
        feed(&["ip", "-n", &self.name, "-batch", "-"], &lines.join("\n"))
            .with_context(|| format!("set up the namespace {}: {lines:#?}", self.name))
    }

    /// What files hold for a process in it, one after the other: `read(&["/proc/net/snmp"])`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(&self, files: &[&str]) -> anyhow::Result<String> {
        run(&[&["ip", "netns", "exec", &self.name, "cat"], files].concat())
    }

    /// The processes whose network namespace this is.
    ///
    /// # Errors
    /// When /proc or the namespace cannot be read.
    pub fn pids(&self) -> anyhow::Result<Vec<Pid>> {
        let read = |path: &Path| fs::metadata(path).with_context(|| format!("look at {}", path.display()));
        let own = read(&self.path)?;
        let is_own = |pid: &Pid| {
            // One that has ended meanwhile is in no namespace.
            let theirs = fs::metadata(format!("/proc/{}/ns/net", pid.as_raw_nonzero()));
            theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (own.dev(), own.ino()))
        };
        let entries = fs::read_dir("/proc").context("list /proc")?;
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
        Ok(pids.filter(is_own).collect())
    }

    fn kill_all(&self) -> anyhow::Result<()> {
        eventually(KILL_DEADLINE, "processes left in the namespace end", || {
            let pids = self.pids().map_err(|error| format!("{error:#}"))?;
            for pid in &pids {
                // One that is gone by now is what we want.
                let _ = kill_process(*pid, Signal::KILL);
            }
            if pids.is_empty() { Ok(()) } else { Err(format!("{pids:?} still run in {}", self.name)) }
        })
    }

    /// What `ip netns del` does: the name is a file on which the namespace is mounted.
    fn delete(&self) -> anyhow::Result<()> {
        unmount(&self.path, UnmountFlags::DETACH).context("unmount")?;
        fs::remove_file(&self.path).context("remove")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = self.kill_all() {
            eprintln!("failed to empty the namespace {}: {error:#}", self.name);
        }
        if let Err(error) = self.delete() {
            eprintln!("failed to delete the namespace {}: {error:#}", self.name);
        }
    }
}
