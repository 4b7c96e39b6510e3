//! Running other programs.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long output may still arrive after the program itself has ended. Something it left behind may hold the
/// pipe open for ever; what the program wrote itself is already in the pipe.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    // Set by `cargo run`; without it xtask was started by hand, then from the root.
    env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|dir| Path::new(&dir).parent().map(Path::to_owned))
        .or_else(|| env::current_dir().ok())
        .unwrap_or_else(|| PathBuf::from("."))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// `~/.cargo`, or what CARGO_HOME says.
pub(crate) fn cargo_home() -> PathBuf {
    home_of("CARGO_HOME", ".cargo")
}

/// `~/.rustup`, or what RUSTUP_HOME says.
pub(crate) fn rustup_home() -> PathBuf {
    home_of("RUSTUP_HOME", ".rustup")
}

fn home_of(variable: &str, default: &str) -> PathBuf {
    env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(default))
}

/// The directories searched for programs: PATH, then where cargo installs, then where administration tools live
/// (not in every user's PATH).
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let extra = [cargo_home().join("bin"), PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    env::split_paths(&path).chain(extra).collect()
}

/// `program`, to be run in the workspace's root with [`search_path`] as its PATH.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path =
        env::join_paths(search_path()).unwrap_or_else(|_| OsString::from("/usr/sbin:/usr/bin:/sbin:/bin"));
    command.current_dir(root()).env("PATH", path);
    command
}

/// The cargo that runs us.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = command(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.arg(subcommand);
    command
}

/// The command as one could type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// `word` as a shell would need it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@^%{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs the command to its end, its output going where ours goes.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("failed to start `{shown}`"))?;
    if !status.success() {
        bail!("failed to run `{shown}`: {status}");
    }
    Ok(())
}

/// Runs the command to its end and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let out = command.output().with_context(|| format!("failed to start `{shown}`"))?;
    if !out.status.success() {
        bail!("failed to run `{shown}`: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs the command to its end, handing its stdout to `listener` as it comes.
///
/// # Errors
/// When it cannot be started or watched; its exit status is for the caller to judge.
pub(crate) fn stream(
    command: &mut Command,
    mut listener: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<ExitStatus> {
    let shown = shown(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("failed to start `{shown}`"))?;
    let chunks = read_in_background(&mut child).with_context(|| format!("failed to read from `{shown}`"))?;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match chunks.recv_timeout(Duration::from_millis(100)) {
            Ok(chunk) => {
                listener(&chunk).with_context(|| format!("failed to pass on the output of `{shown}`"))?
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return child.wait().with_context(|| format!("failed to wait for `{shown}`"));
            }
        }
        match ended {
            None => {
                let status = child.try_wait().with_context(|| format!("failed to wait for `{shown}`"))?;
                ended = status.map(|status| (status, Instant::now() + AFTERMATH));
            }
            Some((status, until)) if Instant::now() >= until => {
                crate::terminal::warning(&format!(
                    "`{shown}` has ended, but left a process that holds its output"
                ));
                return Ok(status);
            }
            Some(_) => {}
        }
    }
}

fn read_in_background(child: &mut Child) -> Result<Receiver<Vec<u8>>> {
    let mut stdout = child.stdout.take().context("the child has no stdout")?;
    // Bounded, so that a child faster than our terminal waits as it would without us.
    let (sender, receiver) = mpsc::sync_channel(16);
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_would_need_it() {
        for (word, expected) in
            [("apt-get", "apt-get"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("^0.13", "^0.13")]
        {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_process_left_behind_does_not_hold_up_the_one_that_ended() {
        let mut heard = Vec::new();
        let begun = Instant::now();
        let status = stream(command("sh").args(["-c", "sleep 30 & echo $!; exit 3"]), |chunk| {
            heard.extend_from_slice(chunk);
            Ok(())
        })
        .unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(begun.elapsed() < Duration::from_secs(20));
        let pid = String::from_utf8(heard).unwrap();
        run(command("kill").arg(pid.trim())).unwrap();
    }
}
