//! Starting a virtual machine, watching it and ending it.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, kill_process};

use super::{
    exchange::{self, Exchange},
    fetch::{self, Image},
    guest::{self, Job, Share},
    kernels::Kernel,
    virtme,
};
use crate::{process, terminal};

/// How often the machine is looked at while it is silent.
const TICK: Duration = Duration::from_millis(100);
/// Booting takes 10 to 30 s on an idle host.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
/// What a machine takes to end once it is told to.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// What to run, and in which machine.
pub(crate) struct Request<'a> {
    /// The kernel.
    pub(crate) kernel: &'a Kernel,
    /// Where the command runs. The host's own directory, writable.
    pub(crate) folder: PathBuf,
    /// The command's environment, beside what the machine itself sets.
    pub(crate) environment: Vec<(String, String)>,
    /// The command's words.
    pub(crate) command: Vec<String>,
    /// Number of processors.
    pub(crate) cpus: u8,
    /// What its clock goes by.
    pub(crate) clock: Clock,
    /// Memory, as qemu understands it.
    pub(crate) memory: String,
    /// From start to end.
    pub(crate) timeout: Duration,
}

/// What a machine's clock goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Clock {
    /// The host's time.
    Time,
    /// The instructions that its processor has executed: whatever else the host does has no part in what is measured inside.
    Instructions,
}

/// As `-icount` has it: an instruction takes two nanoseconds, which is about what emulation takes.
const COUNTED: [&str; 2] = ["-icount", "shift=1"];

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
    listener: impl FnMut(Stream, &[u8]) -> io::Result<()>,
) -> Result<Outcome> {
    let programs = virtme::ensure()?;
    let image = fetch::ensure(request.kernel)?;
    let exchange = Exchange::new()?;
    let shared = without_nested(vec![process::root(), process::target_dir(), request.folder.clone()]);
    // In virtme-run's order, which numbers what it mounts: first what is writable.
    let tag = |number: usize| format!("virtme.initmount{number}");
    let shares: Vec<Share<'_>> =
        shared.iter().enumerate().map(|(number, dir)| Share { tag: tag(number), dir }).collect();
    let script = exchange.store_script(&guest::script(&Job {
        exchange: exchange.dir(),
        host_tag: &tag(shares.len() + 1),
        shares: &shares,
        folder: &request.folder,
        environment: &request.environment,
        command: &request.command,
    }))?;
    let version = request.kernel.version;
    terminal::step(&format!("booting the kernel {version}"));
    let mut command = command(request, &programs, &image, &shared, &exchange);
    command.args(["--script-sh", &script]);
    add_emulation(&mut command, request, &exchange);
    watch(&mut command, &exchange, request.timeout, listener)
        .with_context(|| format!("failed to run a machine with the kernel {version}"))
}

/// Where the machine's init writes, in memory.
const INITS: [&str; 5] = ["/etc", "/root", "/tmp", "/usr", "/var"];

const KERNEL_OPTIONS: [&str; 3] = [
    // For the log that explains a failure.
    "ignore_loglevel",
    // Emulated, the processor's own clock is good and cheap. The kernel would take the hpet, an exit for each look.
    "tsc=reliable",
    // Retpolines are dear to emulate. Not `mitigations=off`: it makes the verifier more lenient than nodes have it.
    "spectre_v2=off",
];

fn command(
    request: &Request<'_>,
    programs: &Path,
    image: &Image,
    shared: &[PathBuf],
    exchange: &Exchange,
) -> Command {
    let mut command = process::command(&programs.join("virtme-run").to_string_lossy());
    command
        .arg("--kimg")
        .arg(&image.file)
        .args(["--mods", "auto", "--name", "lbctl-vm", "--user", "root", "--memory", &request.memory])
        .args(["--cpus", &request.cpus.to_string()])
        // microvm and virtiofs want KVM and a daemon; KVM is not to be had everywhere.
        .args(["--disable-kvm", "--disable-microvm", "--force-9p"])
        .args(KERNEL_OPTIONS.iter().flat_map(|option| ["--kopt", option]));
    for dir in INITS {
        command.args(["--overlay-rwdir", dir]);
    }
    for dir in shared.iter().map(PathBuf::as_path).chain([exchange.dir()]) {
        command.arg("--rwdir").arg(dir);
    }
    command.arg("--rodir").arg(format!("{}=/", guest::HOST));
    command
}

/// Adds what only qemu knows, for which virtme-run has one option that takes all the rest.
fn add_emulation(command: &mut Command, request: &Request<'_>, exchange: &Exchange) {
    let clock: &[&str] = if request.clock == Clock::Instructions { &COUNTED } else { &[] };
    command
        .args(["--qemu-opts", "-cpu", request.kernel.processor])
        .args(clock)
        .arg("-pidfile")
        .arg(exchange.pid_file())
        // virtme-run throws the kernel's log away.
        .arg("-set")
        .arg(format!("chardev.console.path={}", exchange.console().display()));
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

fn watch(
    command: &mut Command,
    exchange: &Exchange,
    timeout: Duration,
    mut listener: impl FnMut(Stream, &[u8]) -> io::Result<()>,
) -> Result<Outcome> {
    let begun = Instant::now();
    let mut machine = Machine::start(command, exchange)?;
    let pieces = machine.output()?;
    let mut has_started = false;
    loop {
        match pieces.recv_timeout(TICK) {
            Ok((stream, piece)) => listener(stream, &piece).context("failed to pass on its output")?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let elapsed = begun.elapsed();
        if elapsed > timeout {
            return Ok(Outcome::TimedOut);
        }
        if !has_started && exchange.has_started() {
            has_started = true;
            terminal::step(&format!("booted in {:.0} s", elapsed.as_secs_f64()));
        }
        if !has_started && elapsed > BOOT_DEADLINE {
            let words = exchange::last_words(&exchange.log());
            bail!("it did not boot within {BOOT_DEADLINE:?}; {words}");
        }
    }
    machine.await_end()?;
    exchange.exit_code().map(Outcome::Exited)
}

/// A running machine, which ends at the latest when this is dropped.
struct Machine<'a> {
    child: Child,
    exchange: &'a Exchange,
}

impl<'a> Machine<'a> {
    fn start(command: &mut Command, exchange: &'a Exchange) -> Result<Self> {
        let shown = process::shown(command);
        // Pipes: what qemu is given as a file it would write from its beginning, over what is there. Stdin stays open
        // and silent; its end tells the machine that we are gone.
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{shown}`"))?;
        Ok(Self { child, exchange })
    }

    /// Its output, which ends when it ends.
    fn output(&mut self) -> Result<Receiver<(Stream, Vec<u8>)>> {
        // Bounded, so that a machine faster than our terminal waits.
        let (sender, receiver) = mpsc::sync_channel(16);
        let stdout = self.child.stdout.take().context("it has no stdout")?;
        let stderr = self.child.stderr.take().context("it has no stderr")?;
        forward(stdout, Stream::Out, sender.clone());
        forward(stderr, Stream::Err, sender);
        Ok(receiver)
    }

    fn await_end(&mut self) -> Result<()> {
        let until = Instant::now() + END_DEADLINE;
        while self.child.try_wait().context("failed to wait for it")?.is_none() {
            if Instant::now() > until {
                bail!("it closed its output and did not end within {END_DEADLINE:?}");
            }
            thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // qemu is our child's child; when it ends, our child does too, and takes away what it made.
        if let Some(pid) = self.exchange.pid() {
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
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if to.send((stream, piece)).is_err() {
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
