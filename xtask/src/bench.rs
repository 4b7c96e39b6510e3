//! `cargo xtask bench`: lbctl measured beside its peers.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build, process,
    setup::{self, Purpose},
    terminal,
    vm::{
        self, kernels,
        machine::{self, Clock, Outcome, Request, Stream},
    },
};

/// Measure lbctl beside HAProxy, nginx, nftables and IPVS, and write the report docs/benchmarks.
///
/// Everything is measured in network namespaces, which are removed at the end; IPVS in a virtual machine. Needs root, a
/// quiet machine and about an hour and a half.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                     everything
  cargo xtask bench --quick             one short round, to see that it works
  cargo xtask bench --only steady --rounds 15
  cargo xtask bench --only ipvs         in a virtual machine, the rest of the report stays")]
pub(crate) struct Args {
    /// Measure only this part, the others stay in the report as they are: steady, forwarded, resources, probes, failover or ipvs
    #[arg(long, value_name = "PART", value_parser = PARTS)]
    only: Vec<String>,

    /// Rounds of each measurement but failover
    #[arg(long)]
    rounds: Option<u16>,

    /// How often each failure of a master happens to each balancer; a round takes some six minutes
    #[arg(long, value_name = "ROUNDS")]
    failover_rounds: Option<u16>,

    /// One short round of everything; the report says so
    #[arg(long)]
    quick: bool,

    /// Leave out what runs in a virtual machine
    #[arg(long)]
    no_vm: bool,

    /// Directory of the report, relative to the workspace's root
    #[arg(long, value_name = "DIR", default_value = "docs/benchmarks")]
    out: PathBuf,
}

const PARTS: [&str; 6] = ["steady", "forwarded", "resources", "probes", "failover", IPVS];
/// The part that needs another kernel.
const IPVS: &str = "ipvs";

const KERNEL: &str = "6.1";
/// As in the tests: with two processors an emulated machine was seen to hang.
const CPUS: u8 = 1;
const MEMORY: &str = "4G";
/// Where the clients are, beside what lbctl is measured there, and what the clients do.
const IPVS_RUNS: [(&str, &str, &str); 2] = [
    ("node", "direct,ipvsadm,ipvs,packet", "connect,tls,keep-alive,bulk"),
    ("vm", "direct,ipvsadm,packet", "keep-alive,bulk"),
];
/// In seconds. An agent looks at its node every five: so every slice has its share of that.
const IPVS_SLICE: u8 = 5;
/// A machine that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(40 * 60);
/// How much longer deadlines are in a machine than on its host.
const SLOWNESS: &str = "5";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !setup::is_root() {
        bail!("failed to measure: making network namespaces needs root; run `cargo xtask bench` as root");
    }
    prepare(args)?;
    let lbctl = build::release()?.path;
    let bench = programs()?;
    if args.only.iter().any(|part| part != IPVS) || args.only.is_empty() {
        terminal::step("measuring on this machine");
        let mut command = process::command(&bench.to_string_lossy());
        process::run(command.args(arguments(args, &typed())).env("LBCTL_BIN", &lbctl))
            .context("hint: cargo xtask bench --only PART measures a single part again")?;
    }
    if args.has_ipvs() {
        terminal::step("measuring IPVS in a virtual machine");
        for (whence, contenders, workloads) in IPVS_RUNS {
            let figures = process::target_dir().join(format!("ipvs-{whence}.json"));
            let what = format!("--whence {whence} --contenders {contenders} --workloads {workloads}");
            measure_ipvs(args, &bench, &lbctl, &what, &figures)?;
            let mut command = process::command(&bench.to_string_lossy());
            command.arg("render").arg("--out").arg(&args.out).arg("--ipvs").arg(&figures);
            process::run(command.args(["--command", &typed()]))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn has_ipvs(&self) -> bool {
        !self.no_vm && (self.only.is_empty() || self.only.iter().any(|part| part == IPVS))
    }
}

/// Installs what is missing.
fn prepare(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Building, Purpose::Benchmarks])?;
    if args.has_ipvs() {
        setup::ensure(&[Purpose::VirtualMachines])?;
    }
    Ok(())
}

/// Builds what measures and what is measured against, optimised.
fn programs() -> Result<PathBuf> {
    terminal::step("building the clients and the stand-ins");
    let mut cargo = process::cargo("build");
    process::run(cargo.args([
        "--quiet",
        "--profile",
        "measured",
        "--package",
        "lb-tests",
        "--package",
        "lb-bench",
        "--bins",
    ]))?;
    Ok(process::target_dir().join("measured/bench"))
}

/// The command that runs us, for the report.
fn typed() -> String {
    let words = env::args().skip(1).map(|word| process::quoted(&word));
    ["cargo xtask".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// For `bench run`.
fn arguments(args: &Args, typed: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in args.only.iter().filter(|part| *part != IPVS) {
        words.extend(["--only".to_owned(), part.clone()]);
    }
    for (flag, rounds) in [("--rounds", args.rounds), ("--failover-rounds", args.failover_rounds)] {
        words.extend(rounds.into_iter().flat_map(|rounds| [flag.to_owned(), rounds.to_string()]));
    }
    if args.quick {
        words.push("--quick".to_owned());
    }
    let out = ["--out".to_owned(), args.out.to_string_lossy().into_owned()];
    [vec!["run".to_owned()], words, out.to_vec(), vec!["--command".to_owned(), typed.to_owned()]].concat()
}

fn measure_ipvs(args: &Args, bench: &Path, lbctl: &Path, what: &str, figures: &Path) -> Result<()> {
    let rounds = if args.quick { "1" } else { "2" };
    let script = format!(
        "modprobe ip_vs && exec {} steady {what} --rounds {rounds} --slice {IPVS_SLICE} --settle 3 --json {}",
        process::quoted(&bench.to_string_lossy()),
        process::quoted(&figures.to_string_lossy()),
    );
    // What an earlier run left must not pass for this one's.
    match fs::remove_file(figures) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to remove {}", figures.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let request = Request {
        kernel: kernels::named(KERNEL)?,
        folder: process::root(),
        environment: vec![
            vm::search_path()?,
            ("LBCTL_BIN".to_owned(), lbctl.to_string_lossy().into_owned()),
            ("LBCTL_TEST_SLOWNESS".to_owned(), SLOWNESS.to_owned()),
        ],
        command: vec!["sh".to_owned(), "-c".to_owned(), script],
        cpus: CPUS,
        clock: Clock::Instructions,
        memory: MEMORY.to_owned(),
        timeout: DEADLINE,
    };
    let pass_on = |stream, piece: &[u8]| match stream {
        Stream::Out => io::stdout().lock().write_all(piece),
        Stream::Err => io::stderr().lock().write_all(piece),
    };
    match machine::run(&request, pass_on)? {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(code) => {
            bail!("failed to measure IPVS: exit code {code}; hint: --no-vm leaves it out")
        }
        Outcome::TimedOut => bail!("failed to measure IPVS within {DEADLINE:?}; hint: --no-vm leaves it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(only: &[&str]) -> Args {
        let only = only.iter().map(|part| (*part).to_owned()).collect();
        Args { only, rounds: Some(9), failover_rounds: None, quick: true, no_vm: false, out: "o".into() }
    }

    #[test]
    fn the_part_for_the_machine_is_not_asked_of_this_one() {
        let words = arguments(&args(&["steady", "ipvs"]), "typed");
        assert_eq!(
            words[..],
            ["run", "--only", "steady", "--rounds", "9", "--quick", "--out", "o", "--command", "typed"]
        );
    }

    #[test]
    fn the_machine_is_started_unless_other_parts_are_asked_for() {
        assert!(args(&[]).has_ipvs() && args(&["steady", "ipvs"]).has_ipvs());
        assert!(!args(&["steady"]).has_ipvs());
        assert!(!Args { no_vm: true, ..args(&[]) }.has_ipvs());
    }
}
