//! Short-lived commands that set the scene: ip, bridge.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};

/// Runs `words` to its end and returns its stdout.
///
/// # Errors
/// When it cannot be started or does not exit with 0: names the command and quotes its stderr.
pub fn run(words: &[&str]) -> anyhow::Result<String> {
    let (program, mut command) = command(words)?;
    let output = command.output().with_context(|| format!("start {program}"))?;
    stdout(words, output)
}

/// Runs `words` to its end with `text` as its stdin; for texts that a pipe holds, 64 KiB.
///
/// # Errors
/// As [`run`].
pub fn feed(words: &[&str], text: &str) -> anyhow::Result<()> {
    let (program, mut command) = command(words)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().with_context(|| format!("write to {program}"))?;
    // One that ends without reading all says why itself.
    let written = stdin.write_all(text.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
    stdout(words, output)?;
    written.with_context(|| format!("write to {program}"))
}

fn command<'a>(words: &[&'a str]) -> anyhow::Result<(&'a str, Command)> {
    let Some((program, arguments)) = words.split_first() else { bail!("run an empty command") };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok((program, command))
}

fn stdout(words: &[&str], output: Output) -> anyhow::Result<String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", words.join(" "), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {}", words.join(" ")))
}
