//! Where it was measured, and what.

use std::fs;
use std::process::Command;

use anyhow::Context;
use lb_tests::binaries;
use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as /proc/cpuinfo names it.
    pub cpu: String,
    /// How many of them the process may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The day, `YYYY-MM-DD` in UTC.
    pub day: String,
}

/// A program, and what it calls itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its name.
    pub program: String,
    /// The first line that it prints.
    pub line: String,
}

impl Machine {
    /// This one, today.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn here() -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let cpu = field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = field(&read("/proc/meminfo")?, "MemTotal");
        let kibibytes = memory.and_then(|text| text.trim_end_matches(" kB").parse().ok());
        Ok(Self {
            cpu,
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            memory: kibibytes.unwrap_or(0.0) / f64::from(1 << 20),
            kernel: uname().release().to_string_lossy().into_owned(),
            day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        })
    }
}

/// What the programs that take part call themselves. One that is not there says so.
#[must_use]
pub fn versions() -> Vec<Version> {
    let lbctl = binaries::lbctl().map(|path| path.to_string_lossy().into_owned());
    let lbctl = lbctl.unwrap_or_else(|_| "lbctl".to_owned());
    let programs = [
        ("lbctl", &*lbctl, "--version"),
        ("haproxy", "haproxy", "-v"),
        ("nginx", "nginx", "-v"),
        ("nft", "nft", "--version"),
    ];
    let version = |(name, program, argument): (&str, &str, &str)| Version {
        program: name.to_owned(),
        line: first_line(program, argument).unwrap_or_else(|| "not there".to_owned()),
    };
    programs.into_iter().map(version).collect()
}

/// Of stdout, or of stderr, where nginx writes.
fn first_line(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
}

/// `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_a_colon_between_name_and_value() {
        let text = "processor\t: 0\nmodel name\t: A: B\nMemTotal:       1024 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A: B"));
        assert_eq!(field(text, "MemTotal").as_deref(), Some("1024 kB"));
        assert_eq!(field(text, "model"), None);
    }
}
