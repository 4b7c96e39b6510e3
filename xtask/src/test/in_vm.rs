//! The tests that run in virtual machines: what needs another kernel than the host's.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    process,
    vm::{
        self, kernels,
        machine::{self, Clock, Outcome, Request, Stream},
    },
};

/// What is run in one machine.
pub(crate) struct Suite {
    /// Its name in the closing table.
    pub(crate) stage: &'static str,
    kernel: &'static str,
    programs: &'static [Program],
}

/// A test program.
struct Program {
    package: &'static str,
    /// The name of its target in the package.
    target: &'static str,
    /// What the names of its tests begin with that are run; none means all.
    only: &'static [&'static str],
}

const PARITY: Program = Program { package: "lb-tests", target: "parity", only: &[] };
const LEAST_PRIVILEGE: Program = Program {
    package: "lb-tests",
    target: "weather",
    only: &["two_capabilities_are_enough_to_program_a_node"],
};
/// What depends on how the kernel receives and routes.
const PACKET: Program =
    Program { package: "lb-tests", target: "packet", only: &["packet::answers::", "packet::shortcut::"] };
/// What depends on how the kernel sends a SYN again, and on who tells it of a refusal.
const RESCUE: Program = Program { package: "lb-tests", target: "rescue", only: &["rescue::faults::"] };
/// Last in its machine, whose cgroups a systemd has then had.
const UNIT: Program = Program { package: "lb-tests", target: "unit", only: &[] };
const PACKET_PROGRAMS: Program = Program { package: "lb-user", target: "packet_programs", only: &[] };
const IPVS_NETWORK: Program = Program { package: "lb-user", target: "ipvs_network_in_vm", only: &[] };
const IPVS_DATAPLANE: Program = Program { package: "lb-user", target: "ipvs_dataplane", only: &[] };

/// All of them.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        stage: "vm 6.1",
        kernel: "6.1",
        programs: &[
            PARITY,
            PACKET_PROGRAMS,
            PACKET,
            RESCUE,
            LEAST_PRIVILEGE,
            IPVS_NETWORK,
            IPVS_DATAPLANE,
            UNIT,
        ],
    },
    Suite {
        stage: "vm 6.12",
        kernel: "6.12",
        programs: &[PARITY, PACKET_PROGRAMS, PACKET, RESCUE, LEAST_PRIVILEGE],
    },
];

/// The tests for which the host's kernel may lack something, as arguments for libtest that leave them out there.
pub(crate) const NOT_ON_THE_HOST: &[&str] =
    &["--skip=parity::ipvs::", "--skip=parity::both::", "--skip=a_node_is_ready_before_its_kubelet"];

/// How much longer things take in a machine than on its host, for `LBCTL_TEST_SLOWNESS`.
const SLOWNESS: &str = "5";
/// A machine that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(45 * 60);
const MEMORY: &str = "4G";
/// With two, a machine was seen to hang, one processor in asm_exc_int3 for ever (qemu 7.2): probably a breakpoint that the
/// other had patched into the kernel and away again. With one this is not known to happen.
const CPUS: u8 = 1;

/// Runs a suite to its end, handing what the tests print to `listener`.
///
/// # Errors
/// When a test fails, or a machine.
pub(crate) fn run(
    suite: &Suite,
    lbctl: &Path,
    arguments: &[String],
    filter: Option<&str>,
    mut listener: impl FnMut(Stream, &[u8]) -> std::io::Result<()>,
) -> Result<()> {
    let request = Request {
        kernel: kernels::named(suite.kernel)?,
        folder: process::root(),
        environment: vec![
            vm::search_path()?,
            ("LBCTL_BIN".to_owned(), lbctl.to_string_lossy().into_owned()),
            ("LBCTL_TEST_SLOWNESS".to_owned(), SLOWNESS.to_owned()),
        ],
        command: vec!["sh".to_owned(), "-c".to_owned(), script(suite, arguments, filter)?],
        cpus: CPUS,
        clock: Clock::Time,
        memory: MEMORY.to_owned(),
        timeout: DEADLINE,
    };
    match machine::run(&request, &mut listener)? {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(code) => bail!("failed to run {} without failures: exit code {code}", suite.stage),
        Outcome::TimedOut => bail!("failed to run {} within {DEADLINE:?}", suite.stage),
    }
}

/// Runs all programs of the suite, one after the other, whatever becomes of those before.
fn script(suite: &Suite, arguments: &[String], filter: Option<&str>) -> Result<String> {
    let mut lines = vec!["code=0".to_owned()];
    for program in suite.programs {
        let Some(names) = program.names(filter) else { continue };
        let mut words = vec![process::quoted(&executable(program)?.to_string_lossy())];
        words.extend(arguments.iter().map(|word| process::quoted(word)));
        // Timing is part of what is tested.
        words.push("--test-threads=1".to_owned());
        words.extend(names.into_iter().map(process::quoted));
        lines.push(format!("{} || code=1", words.join(" ")));
    }
    lines.push("exit $code".to_owned());
    Ok(lines.join("\n"))
}

impl Program {
    /// What libtest is to look for in the names of its tests; `None`: it has none that is to be run.
    fn names<'a>(&self, filter: Option<&'a str>) -> Option<Vec<&'a str>> {
        let Some(filter) = filter else { return Some(self.only.to_vec()) };
        if self.only.is_empty() || self.only.iter().any(|name| filter.starts_with(name)) {
            return Some(vec![filter]);
        }
        let names: Vec<_> = self.only.iter().copied().filter(|name| name.contains(filter)).collect();
        (!names.is_empty()).then_some(names)
    }
}

/// Builds a test program.
fn executable(program: &Program) -> Result<PathBuf> {
    let Program { package, target, .. } = program;
    let messages = process::capture(process::cargo("test").args([
        "--quiet",
        "--package",
        package,
        "--test",
        target,
        "--no-run",
        "--message-format=json",
    ]))?;
    executable_in(&messages, target)
        .with_context(|| format!("failed to build the test program {target}: cargo names no executable"))
}

/// The executable of a test target in what cargo prints with `--message-format=json`: an object on each line, those with
/// the reason `compiler-artifact` have `target.name` and `executable`.
fn executable_in(messages: &str, target: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables = messages.filter_map(|message| {
        let is_it = message["target"]["name"] == target && message["target"]["kind"][0] == "test";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    executables.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_of_a_test_is_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"parity"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"weather"},"executable":"/t/weather-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"parity"},"executable":"/t/parity-2"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable_in(messages, "parity"), Some(PathBuf::from("/t/parity-2")));
        assert_eq!(executable_in(messages, "footprint"), None);
    }

    #[test]
    fn a_program_of_which_some_tests_are_run_is_left_out_where_the_filter_does_not_match() {
        assert_eq!(PARITY.names(None), Some(vec![]));
        assert_eq!(PARITY.names(Some("x")), Some(vec!["x"]));
        assert_eq!(LEAST_PRIVILEGE.names(None), Some(LEAST_PRIVILEGE.only.to_vec()));
        assert_eq!(LEAST_PRIVILEGE.names(Some("two_cap")), Some(LEAST_PRIVILEGE.only.to_vec()));
        assert_eq!(LEAST_PRIVILEGE.names(Some("x")), None);
        assert_eq!(PACKET.names(Some("answers")), Some(vec!["packet::answers::"]));
        assert_eq!(PACKET.names(Some("packet::answers::with")), Some(vec!["packet::answers::with"]));
    }

    #[test]
    fn every_suite_has_a_kernel_that_exists() {
        for suite in SUITES {
            kernels::named(suite.kernel).unwrap();
        }
    }
}
