//! Kernel modules.

use std::{
    fs, io,
    process::{Command, Stdio},
    time::Duration,
};

use super::process::wait_deadline;

/// Names the program that the kernel runs to load a module; empty where none shall be.
/// Documentation/admin-guide/sysctl/kernel.rst.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";

/// The longest that loading may take: it reads some files, and the module's init runs.
const DEADLINE: Duration = Duration::from_secs(10);

/// Loads a module by the program that the kernel itself would run, so that who forbids the one forbids the other.
///
/// # Errors
/// Where that is forbidden, this process may not (`CAP_SYS_MODULE`), or there is no such program or module.
pub fn load(module: &str) -> io::Result<()> {
    let program = fs::read_to_string(MODPROBE)?;
    let program = program.trim();
    let mut child = Command::new(program)
        .args(["-q", "--", module])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = wait_deadline(&mut child, DEADLINE)?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} ended with {status}"))) }
}
