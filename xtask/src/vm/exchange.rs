//! The files through which a virtual machine and its starter talk.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Pid;

use super::{cache, guest};
use crate::{process, terminal};

/// How much of the kernel's log is shown when a machine dies: an oops with its stack.
const LAST_LINES: usize = 60;
/// How lines begin, after the time, in which a kernel reports that it is at fault.
const COMPLAINTS: [&str; 5] = ["BUG: ", "Oops: ", "WARNING: ", "INFO: task ", "watchdog: BUG"];

/// How many machines this process has started.
static MACHINES: Mutex<u32> = Mutex::new(0);

/// A directory for the files; removed when dropped.
pub(super) struct Exchange {
    dir: PathBuf,
}

impl Exchange {
    /// Makes the directory.
    ///
    /// # Errors
    /// When a file operation fails.
    pub(super) fn new() -> Result<Self> {
        let all = cache::dir()?.join("run");
        cache::make(&all)?;
        // Held, so that two machines do not sweep at the same time.
        let mut number = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = all.join(format!("{}-{number}", std::process::id()));
        *number += 1;
        sweep(&all, &dir)?;
        cache::make(&dir)?;
        Ok(Self { dir })
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes what the machine is to run and gives the words that run it.
    ///
    /// # Errors
    /// When a file operation fails.
    pub(super) fn store_script(&self, script: &str) -> Result<String> {
        let path = self.dir.join("script");
        fs::write(&path, script).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(format!("sh {}", process::quoted(&path.to_string_lossy())))
    }

    /// Where the kernel's log goes.
    pub(super) fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// Where qemu writes its process id.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// The process id of qemu while it runs.
    pub(super) fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Whether the kernel has booted and the script runs.
    pub(super) fn has_started(&self) -> bool {
        self.dir.join(guest::STARTED).exists()
    }

    /// The exit code of the command in a machine that has ended.
    ///
    /// # Errors
    /// When the machine did not live to see it.
    pub(super) fn exit_code(&self) -> Result<u8> {
        let log = self.log();
        if !self.has_started() {
            bail!("it did not boot; {}", last_words(&log));
        }
        let status = fs::read_to_string(self.dir.join(guest::STATUS)).unwrap_or_default();
        let Ok(code) = status.trim().parse() else {
            bail!("it ended before the command did; {}", last_words(&log));
        };
        if let Some(complaint) = complaint(&log) {
            terminal::warning(&format!("the kernel complained: {complaint}"));
        }
        Ok(code)
    }

    /// What the kernel has logged until now.
    pub(super) fn log(&self) -> String {
        let log = fs::read(self.console()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Err(error) = cache::remove(&self.dir) {
            terminal::warning(&format!("{error:#}"));
        }
    }
}

/// Removes from `all` what killed processes left: those that are no more, and an earlier one of our number.
fn sweep(all: &Path, ours: &Path) -> Result<()> {
    let failed = || format!("failed to list {}", all.display());
    for entry in fs::read_dir(all).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid = name.split_once('-').map_or(&*name, |(pid, _number)| pid);
        if !Path::new("/proc").join(pid).exists() || entry.path() == ours {
            cache::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The end of a log, for an error.
pub(super) fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
    if last.is_empty() {
        return "the kernel logged nothing".to_owned();
    }
    format!("the kernel's last words:\n{}", last.join("\n"))
}

/// The first line in which the kernel reports a fault of its own.
fn complaint(log: &str) -> Option<&str> {
    log.lines().find(|line| {
        let text = line.split_once("] ").map_or(*line, |(_time, text)| text);
        COMPLAINTS.iter().any(|beginning| text.starts_with(beginning))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_kernel_is_found_in_its_log_and_idle_talk_is_not() {
        let log = "[    0.1] Linux version 6.1.0\n[    9.3] WARNING: CPU: 1 PID: 7 at net/core/sock.c:1\n[   10.0] BUG: x\n";
        assert_eq!(complaint(log), Some("[    9.3] WARNING: CPU: 1 PID: 7 at net/core/sock.c:1"));
        assert_eq!(
            complaint("[    0.1] x: no WARNING: here\n[    0.2] Spectre V2 : WARNING: Unprivileged\n"),
            None
        );
    }

    #[test]
    fn the_last_words_are_the_end_of_the_log() {
        let log: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
        let words = last_words(&log.join("\n"));
        assert!(words.ends_with("line 98\nline 99") && !words.contains("line 39\n"), "{words}");
        assert_eq!(last_words(""), "the kernel logged nothing");
    }
}
