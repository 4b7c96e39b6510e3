//! Processes that vanish when dropped.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::wait::eventually;

/// Where a process runs: which network namespace, and which cgroup if not the caller's.
#[derive(Clone, Debug)]
pub struct Place {
    /// The namespace's file.
    pub netns: PathBuf,
    /// The `cgroup.procs` to enter.
    pub cgroup: Option<PathBuf>,
}

impl Place {
    /// A command that enters this place and then becomes `program`, which so keeps the pid that the caller sees.
    ///
    /// Without nsenter(1) and a shell in between: in an emulated machine each program that starts takes a while.
    ///
    /// # Errors
    /// When the namespace or the cgroup is gone.
    pub fn command(&self, program: &Path, arguments: &[OsString]) -> anyhow::Result<Command> {
        let open = |path: &Path, options: &OpenOptions| {
            options.open(path).with_context(|| format!("enter {}", path.display()))
        };
        let netns = open(&self.netns, OpenOptions::new().read(true))?;
        let procs =
            self.cgroup.as_ref().map(|path| open(path, OpenOptions::new().write(true))).transpose()?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let enter = move || {
            if let Some(procs) = &procs {
                // 0 is the writer itself: cgroup-v2.rst.
                rustix::io::write(procs, b"0")?;
            }
            Ok(move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?)
        };
        // SAFETY: between fork and exec `enter` makes two system calls on open files; it allocates nothing, takes no
        // lock and does not panic.
        #[expect(unsafe_code, reason = "the only way to do something in the child")]
        unsafe {
            command.pre_exec(enter);
        }
        Ok(command)
    }
}

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its data.
    pub stdout: String,
    /// Its log and errors.
    pub stderr: String,
}

impl Finished {
    /// The exit code; -1 where a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Its stdout, if it exited with 0.
    ///
    /// # Errors
    /// Otherwise: the status and stderr.
    pub fn success(self) -> anyhow::Result<String> {
        if self.status.success() {
            Ok(self.stdout)
        } else {
            bail!("{}; stderr: {}; stdout: {}", self.status, self.stderr.trim(), self.stdout.trim())
        }
    }
}

/// A running process whose output goes to `LOGS/NAME.out` and `LOGS/NAME.err`. Dropping it kills and reaps it, stopped or not.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Proc {
    /// Starts `command`; `name` must be unused in the directory `logs`.
    ///
    /// # Errors
    /// When it cannot be started or its output files cannot be made.
    pub fn spawn(name: &str, logs: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let child = command
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// Its pid, that of the program itself and not of a wrapper.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("send {signal:?} to {} ({})", self.name, self.pid()))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When waitpid fails.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        let ended = self.child.try_wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(ended.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub fn wait_deadline(&mut self, deadline: Duration) -> anyhow::Result<Finished> {
        let status = eventually(deadline, &format!("{} ends", self.name), || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it still runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        Ok(Finished { status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// SIGKILL, and waits until the kernel has torn the process down with its sockets.
    ///
    /// # Errors
    /// When waitpid fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("reap {}", self.name))?;
        Ok(())
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // Child::kill does nothing to a process that was reaped already, so no foreign pid is hit.
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// When it cannot be started, or still runs after `deadline` (it is killed then).
pub fn run_to_end(
    name: &str,
    logs: &Path,
    command: &mut Command,
    deadline: Duration,
) -> anyhow::Result<Finished> {
    Proc::spawn(name, logs, command)?.wait_deadline(deadline)
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("make {}", path.display()))
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
