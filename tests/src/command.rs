//! Short-lived commands that set the scene: ip, bridge.

use std::process::Command;

use anyhow::{Context, bail};

/// Runs `words` to its end and returns its stdout.
///
/// # Errors
/// When it cannot be started or does not exit with 0: names the command and quotes its stderr.
pub fn run(words: &[&str]) -> anyhow::Result<String> {
    let Some((program, arguments)) = words.split_first() else { bail!("run an empty command") };
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", words.join(" "), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {program}"))
}
