//! `cargo xtask vm`: a command in a virtual machine with another kernel.

mod cache;
mod exchange;
mod fetch;
mod guest;
pub(crate) mod kernels;
pub(crate) mod machine;
mod virtme;

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use self::machine::{Clock, Outcome, Request, Stream};
use crate::{
    process,
    setup::{self, Purpose},
    terminal,
};

/// As timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// As timeout(1) and docker-run(1) have it: it is the machine that failed, and not the command.
const MACHINE_FAILED: u8 = 125;

/// Run a command as root in a virtual machine with one of Debian's kernels.
///
/// The machine has the host's files, by software emulation a tenth of its speed, no network but its loopback, and ends
/// with the command. The current folder, the workspace and its target directory are the host's own, writable; what the
/// host changes in them meanwhile may be missed. /tmp, /run and what is written elsewhere are the machine's. Kernels are
/// fetched once, into ~/.cache/lbctl/vm (or below XDG_CACHE_HOME); remove them there to get newer ones.
///
/// The exit code is the command's; 124 when the time is up, 125 when it is the machine that fails.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm --kernel 6.1 -- uname -r
  cargo xtask vm --kernel 5.10 --env LBCTL_BIN -- target/debug/deps/weather-0123 two_capabilities
  cargo xtask vm --kernel 6.12 --timeout 90s -- sh -c 'modprobe ip_vs && ipvsadm -Ln'")]
pub(crate) struct Args {
    /// Version of the kernel: 5.10, 6.1 or 6.12
    #[arg(long)]
    kernel: String,

    /// Set an environment variable for the command, or pass on the current value
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Number of processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    cpus: u8,

    /// What its clock goes by: with instructions, figures measured inside do not depend on what else the host does
    #[arg(long, value_enum, default_value_t = Clock::Time)]
    clock: Clock,

    /// Memory, with M or G behind the number
    #[arg(long, default_value = "4G", value_parser = memory)]
    memory: String,

    /// Time from start to end, with s, m or h behind the number
    #[arg(long, default_value = "30m", value_parser = duration)]
    timeout: Duration,

    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let outcome = request(args).and_then(|request| {
        setup::ensure(&[Purpose::VirtualMachines])?;
        machine::run(&request, pass_on)
    });
    let code = match outcome {
        Ok(Outcome::Exited(code)) => code,
        Ok(Outcome::TimedOut) => {
            terminal::error(&format!("failed to end within {:?}; hint: --timeout", args.timeout));
            TIMED_OUT
        }
        Err(error) => {
            terminal::error(&format!("{error:#}"));
            MACHINE_FAILED
        }
    };
    Ok(ExitCode::from(code))
}

fn request(args: &Args) -> Result<Request<'_>> {
    let folder = env::current_dir().context("failed to find the current folder")?;
    check_folder(&folder)?;
    let mut environment = vec![search_path()?];
    for text in &args.env {
        environment.push(variable(text, |name| env::var(name).ok())?);
    }
    Ok(Request {
        kernel: kernels::named(&args.kernel)?,
        folder,
        environment,
        command: args.command.clone(),
        cpus: args.cpus,
        clock: args.clock,
        memory: args.memory.clone(),
        timeout: args.timeout,
    })
}

/// PATH for what runs inside: the same as outside.
///
/// # Errors
/// When a directory in it has a name that is not UTF-8.
pub(crate) fn search_path() -> Result<(String, String)> {
    let path = env::join_paths(process::search_path()).context("failed to join the search path")?;
    let path = path.into_string().ok().context("failed to pass on PATH: it is not UTF-8")?;
    Ok(("PATH".to_owned(), path))
}

/// Some folders cannot be the host's own inside, because the machine needs them for itself.
fn check_folder(folder: &Path) -> Result<()> {
    let taken = ["/run", "/proc", "/sys", "/dev"];
    let is_root = ["/", "/tmp"].iter().any(|dir| folder == Path::new(dir));
    if is_root || taken.iter().any(|dir| folder.starts_with(dir)) {
        bail!(
            "failed to share {} with a virtual machine, which has its own; hint: start from another folder, \
             such as {}",
            folder.display(),
            process::root().display()
        );
    }
    Ok(())
}

fn pass_on(stream: Stream, piece: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Out => {
            let mut out = io::stdout().lock();
            out.write_all(piece)?;
            out.flush()
        }
        Stream::Err => io::stderr().lock().write_all(piece),
    }
}

/// `NAME=VALUE`, or `NAME` with the value that `current` gives.
fn variable(text: &str, current: impl Fn(&str) -> Option<String>) -> Result<(String, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, current(text)),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
        bail!("failed to pass on the variable {name:?}: a name has letters, digits and underscores only");
    }
    let value = value.with_context(|| {
        format!(
            "failed to pass on the variable {name}: it is not set as UTF-8 here; hint: --env {name}=VALUE"
        )
    })?;
    Ok((name.to_owned(), value))
}

fn memory(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['M', 'G']).unwrap_or_default();
    match number.parse::<u32>() {
        Ok(1..) => Ok(text.to_owned()),
        Ok(0) | Err(_) => Err("not a size such as 512M or 4G".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time such as 90s, 30m or 1h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(memory("512M"), Ok("512M".to_owned()));
        for wrong in ["", "4", "G", "0G", "-1G", "4T", "4G,slots=2"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h", 3600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "s", "90", "-1s", "1d", "1.5h", "5µ"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_variable_has_the_value_given_or_the_current_one() {
        let current = |name: &str| (name == "SET").then(|| "now".to_owned());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(variable("A=b=c", current).unwrap(), pair("A", "b=c"));
        assert_eq!(variable("A=", current).unwrap(), pair("A", ""));
        assert_eq!(variable("SET", current).unwrap(), pair("SET", "now"));
        for wrong in ["UNSET", "=x", "A B=c", "1A=c", "A;reboot=c"] {
            assert!(variable(wrong, current).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_that_the_machine_needs_for_itself_is_refused_with_another_one() {
        for wrong in ["/", "/tmp", "/run/user/0"] {
            let error = check_folder(Path::new(wrong)).unwrap_err().to_string();
            assert!(error.contains("hint: start from another folder"), "{error}");
        }
        for good in ["/home/x", "/tmp/x", "/root"] {
            assert!(check_folder(Path::new(good)).is_ok(), "{good}");
        }
    }
}
