//! Starting a virtual machine, watching it and ending it.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    cache,
    fetch::{self, Image},
    guest::{self, Job},
    kernels::Kernel,
    virtme,
};
use crate::{process, terminal};

/// How often the machine is looked at while it is silent.
const TICK: Duration = Duration::from_millis(100);
/// A machine that does not boot is no matter of patience: it takes 10 to 20 s alone, and shares its cores.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
/// What a machine takes to end once it is told to.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How much of the kernel's log is shown when a machine dies.
const LAST_LINES: usize = 30;

/// What to run, and in which machine.
pub(crate) struct Request<'a> {
    /// The kernel.
    pub(crate) kernel: &'a Kernel,
    /// Where the command runs. The host's own directory, writable.
    pub(crate) folder: PathBuf,
    /// The command's environment, beside PATH.
    pub(crate) environment: Vec<(String, String)>,
    /// The command's words.
    pub(crate) command: Vec<String>,
    /// Number of processors.
    pub(crate) cpus: u8,
    /// Memory, as qemu understands it.
    pub(crate) memory: String,
    /// From start to end.
    pub(crate) timeout: Duration,
}

/// How a command in a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By itself, with this exit code.
    Exited(u8),
    /// Not in time; the machine was ended.
    TimedOut,
}

/// Where a piece of output was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Runs the command in a machine of its own, handing its output to `listener` as it comes.
///
/// # Errors
/// When the machine cannot be made, does not start or dies before the command ends.
pub(crate) fn run(
    request: &Request<'_>,
    mut listener: impl FnMut(Stream, &[u8]) -> std::io::Result<()>,
) -> Result<Outcome> {
    let programs = virtme::ensure()?;
    let image = fetch::ensure(request.kernel)?;
    let exchange = Exchange::new()?;
    fs::write(exchange.0.join(SCRIPT), guest::script(&job(request, &exchange.0)))
        .with_context(|| format!("failed to write into {}", exchange.0.display()))?;
    terminal::step(&format!("booting the kernel {}", request.kernel.version));
    let begun = Instant::now();
    let (sender, pieces) = mpsc::sync_channel(16);
    let mut machine = Machine::start(&mut command(request, &programs, &image, &exchange.0), &exchange.0)?;
    machine.forward_output(&sender)?;
    drop(sender);
    let mut started = false;
    loop {
        match pieces.recv_timeout(TICK) {
            Ok((stream, piece)) => listener(stream, &piece).context("failed to pass on the output")?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let elapsed = begun.elapsed();
        if !started && exchange.0.join(guest::STARTED).exists() {
            started = true;
            terminal::step(&format!("booted in {:.0} s", elapsed.as_secs_f64()));
        }
        if elapsed > request.timeout {
            return Ok(Outcome::TimedOut);
        }
        if !started && elapsed > BOOT_DEADLINE {
            bail!(
                "failed to boot the kernel {} within {BOOT_DEADLINE:?}{}",
                request.kernel.version,
                exchange.last_words()
            );
        }
    }
    machine.await_end()?;
    exchange.outcome(request.kernel)
}

const SCRIPT: &str = "script";
const CONSOLE: &str = "console";
const PID: &str = "pid";

fn job<'a>(request: &'a Request<'_>, exchange: &'a Path) -> Job<'a> {
    Job { exchange, folder: &request.folder, environment: &request.environment, command: &request.command }
}

/// The directory through which a machine and we exchange files; removed when dropped.
struct Exchange(PathBuf);

impl Exchange {
    fn new() -> Result<Self> {
        let dir = cache::dir()?.join("run").join(std::process::id().to_string());
        // What an earlier process of the same number left.
        cache::remove(&dir)?;
        cache::make(&dir)?;
        Ok(Self(dir))
    }

    fn outcome(&self, kernel: &Kernel) -> Result<Outcome> {
        let version = kernel.version;
        if !self.0.join(guest::STARTED).exists() {
            bail!("failed to boot the kernel {version}{}", self.last_words());
        }
        let status = fs::read_to_string(self.0.join(guest::STATUS)).unwrap_or_default();
        let Ok(code) = status.trim().parse() else {
            bail!("the machine with the kernel {version} ended before the command did{}", self.last_words());
        };
        Ok(Outcome::Exited(code))
    }

    /// The end of the kernel's log.
    fn last_words(&self) -> String {
        let log = fs::read(self.0.join(CONSOLE)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        if last.is_empty() {
            return "; the kernel logged nothing".to_owned();
        }
        format!("; the kernel's last words:\n{}", last.join("\n"))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Err(error) = cache::remove(&self.0) {
            terminal::warning(&format!("{error:#}"));
        }
    }
}

fn command(request: &Request<'_>, programs: &Path, image: &Image, exchange: &Path) -> Command {
    let mut command = process::command(&programs.join("virtme-run").to_string_lossy());
    command
        .arg("--kimg")
        .arg(&image.file)
        .args(["--mods", "auto", "--name", "lbctl-vm", "--user", "root", "--memory", &request.memory])
        .args(["--cpus", &request.cpus.to_string()])
        // microvm and virtiofs want KVM and a daemon; KVM is not to be had in a virtual machine.
        .args(["--disable-kvm", "--disable-microvm", "--force-9p"]);
    // The host's root is shared read-only. What the machine writes elsewhere stays in its memory.
    for dir in ["/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var", "/tmp"] {
        command.args(["--overlay-rwdir", dir]);
    }
    for dir in without_nested(vec![
        process::root(),
        process::target_dir(),
        request.folder.clone(),
        exchange.to_owned(),
    ]) {
        command.arg("--rwdir").arg(dir);
    }
    command
        .args(["--kopt", "console=ttyS1,115200", "--kopt", "ignore_loglevel"])
        .arg("--script-sh")
        .arg(format!("sh {}", process::quoted(&exchange.join(SCRIPT).to_string_lossy())))
        .args(["--qemu-opts", "-cpu", request.kernel.processor])
        .arg("-pidfile")
        .arg(exchange.join(PID))
        .arg("-serial")
        .arg(format!("file:{}", exchange.join(CONSOLE).display()));
    command
}

/// `dirs` without those that lie in another one of them.
fn without_nested(mut dirs: Vec<PathBuf>) -> Vec<PathBuf> {
    dirs.sort();
    let mut kept: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if !kept.iter().any(|outer| dir.starts_with(outer)) {
            kept.push(dir);
        }
    }
    kept
}

/// A running machine, which ends at the latest when this is dropped.
struct Machine {
    child: Child,
    pid_file: PathBuf,
}

impl Machine {
    fn start(command: &mut Command, exchange: &Path) -> Result<Self> {
        let shown = process::shown(command);
        // Pipes: what qemu is given as a file it would write from its beginning, over what is there. Stdin stays open
        // and silent; its end tells the machine that we are gone.
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{shown}`"))?;
        Ok(Self { child, pid_file: exchange.join(PID) })
    }

    fn forward_output(&mut self, sender: &SyncSender<(Stream, Vec<u8>)>) -> Result<()> {
        forward(self.child.stdout.take().context("the machine has no stdout")?, Stream::Out, sender.clone());
        forward(self.child.stderr.take().context("the machine has no stderr")?, Stream::Err, sender.clone());
        Ok(())
    }

    fn await_end(&mut self) -> Result<()> {
        let until = Instant::now() + END_DEADLINE;
        while self.child.try_wait().context("failed to wait for the machine")?.is_none() {
            if Instant::now() > until {
                bail!("failed to see the machine end within {END_DEADLINE:?} after it closed its output");
            }
            thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // qemu is a child of our child, which ends when it does, and takes away what it made.
        let pid =
            fs::read_to_string(&self.pid_file).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        if let Some(pid) = pid {
            // One that is gone by now is what we want.
            let _ = kill_process(pid, Signal::KILL);
        }
        if self.await_end().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn forward(mut from: impl Read + Send + 'static, stream: Stream, to: SyncSender<(Stream, Vec<u8>)>) {
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.send((stream, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_inside_another_is_shared_with_it() {
        let dirs = ["/work/a/target", "/work/ab", "/work/a", "/root/x"].map(PathBuf::from).to_vec();
        let kept = without_nested(dirs);
        assert_eq!(kept, ["/root/x", "/work/a", "/work/ab"].map(PathBuf::from));
    }
}
