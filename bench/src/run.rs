//! Measuring everything, or some parts, and writing the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lb_tests::interrupt;
use serde::{Deserialize, Serialize};

use crate::client::Workload;
use crate::contender::Contender;
use crate::failover::{self, Fault};
use crate::probes;
use crate::report::{Machine, Results, versions};
use crate::resources;
use crate::steady::{self, Steady, Whence};

/// What is run unless the user says otherwise; the others need another kernel.
const CONTENDERS: [Contender; 8] = [
    Contender::Direct,
    Contender::Socket,
    Contender::SocketAlone,
    Contender::Packet,
    Contender::HaproxyKubeadm,
    Contender::HaproxyTuned,
    Contender::Nginx,
    Contender::Nftables,
];

/// What serves clients that the node only forwards.
const FORWARDING: [Contender; 6] = [
    Contender::Direct,
    Contender::Packet,
    Contender::PacketUnmasked,
    Contender::PacketStack,
    Contender::Nftables,
    Contender::NftablesMasquerade,
];

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// While nothing fails.
    Steady,
    /// The same, for a virtual machine on the node.
    Forwarded,
    /// Memory and processor time of the balancers.
    Resources,
    /// While masters fail.
    Failover,
    /// What probes cost.
    Probes,
}

impl Part {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Forwarded => "forwarded",
            Self::Resources => "resources",
            Self::Failover => "failover",
            Self::Probes => "probes",
        }
    }
}

/// Flags of `bench run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this part; may be repeated. The others stay in the report as they are
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Vec<Part>,
    /// Rounds of each measurement but failover
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// How often each master failure happens to each balancer; a round takes some six minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub failover_rounds: u16,
    /// One short round of everything, to see that it works
    #[arg(long)]
    pub quick: bool,
    /// Directory of the report
    #[arg(long, default_value = "docs/benchmarks", value_name = "DIR")]
    pub out: PathBuf,
    /// The command to name in the report
    #[arg(long, default_value = "bench run", hide = true)]
    pub command: String,
}

/// Flags of `bench steady`.
#[derive(Debug, clap::Args)]
pub struct SteadyArgs {
    /// Which contenders, divided by commas; direct must be among them
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub contenders: Vec<Contender>,
    /// What the clients do, divided by commas [default: all of it]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub workloads: Vec<Workload>,
    /// Where the clients are
    #[arg(long, value_enum, default_value_t = Whence::Node)]
    pub whence: Whence,
    /// Rounds of each workload
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Length of a slice
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub slice: u64,
    /// How long a contender is at work before its client is
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub settle: u64,
    /// File for the figures, JSON
    #[arg(long, value_name = "FILE")]
    pub json: PathBuf,
}

/// Flags of `bench failover`.
#[derive(Debug, clap::Args)]
pub struct FailoverArgs {
    /// Which contenders, divided by commas
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub contenders: Vec<Contender>,
    /// Which faults, divided by commas
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub faults: Vec<Fault>,
    /// How often each happens to each contender
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
}

/// Flags of `bench render`.
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// Directory of the report
    #[arg(long, default_value = "docs/benchmarks", value_name = "DIR")]
    pub out: PathBuf,
    /// Figures of `bench steady` from a machine with IPVS, to be taken in
    #[arg(long, value_name = "FILE")]
    pub ipvs: Option<PathBuf>,
    /// The command to name in the report
    #[arg(long, hide = true)]
    pub command: Option<String>,
}

/// Measures, and writes the report after each part.
///
/// # Errors
/// When a part cannot be measured at all, or the report cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    interrupt::watch()?;
    let mut results = Results::load(&args.out)?;
    results.machine = Some(Machine::here()?);
    results.versions = versions();
    results.commands.insert(args.command.clone());
    for part in [Part::Steady, Part::Forwarded, Part::Resources, Part::Probes, Part::Failover] {
        if !args.only.is_empty() && !args.only.contains(&part) {
            continue;
        }
        eprintln!("measuring: {}", part.name());
        measure(part, args, &mut results).with_context(|| format!("measure {}", part.name()))?;
        ensure!(!interrupt::happened(), "measure {}: interrupted; everything was removed", part.name());
        if args.quick {
            results.quick.insert(part);
        } else {
            results.quick.remove(&part);
        }
        results.save(&args.out)?;
    }
    eprintln!("the report is in {}", args.out.display());
    Ok(())
}

fn measure(part: Part, args: &Args, results: &mut Results) -> anyhow::Result<()> {
    match part {
        Part::Steady => results.steady = Some(steady::measure(&steady_plan(args))?),
        Part::Forwarded => results.forwarded = Some(steady::measure(&forwarded_plan(args))?),
        Part::Resources => results.resources = Some(resources::measure(resources_plan(args))?),
        Part::Failover => results.failover = Some(failover::measure(&failover_plan(args), tell)),
        Part::Probes => results.probes = Some(probes::measure(&probes_plan(args), tell)),
    }
    Ok(())
}

fn steady_plan(args: &Args) -> steady::Plan {
    let (rounds, slice, warm_up) = if args.quick { (1, 300, 100) } else { (args.rounds.into(), 1000, 200) };
    steady::Plan {
        whence: Whence::Node,
        contenders: CONTENDERS.to_vec(),
        workloads: Workload::ALL.to_vec(),
        rounds,
        slice: Duration::from_millis(slice),
        warm_up: Duration::from_millis(warm_up),
        settle: Duration::ZERO,
    }
}

fn forwarded_plan(args: &Args) -> steady::Plan {
    let contenders = FORWARDING.to_vec();
    steady::Plan { whence: Whence::Vm, contenders, ..steady_plan(args) }
}

fn resources_plan(args: &Args) -> resources::Plan {
    let (idle, load) = if args.quick { (2, 1) } else { (20, 5) };
    resources::Plan { idle: Duration::from_secs(idle), load: Duration::from_secs(load) }
}

fn failover_plan(args: &Args) -> failover::Plan {
    let (rounds, contenders) = if args.quick {
        (1, vec![Contender::Socket, Contender::HaproxyTuned])
    } else {
        (args.failover_rounds.into(), failover::CONTENDERS.to_vec())
    };
    failover::Plan { rounds, contenders, faults: Fault::ALL.to_vec() }
}

fn probes_plan(args: &Args) -> probes::Plan {
    if args.quick {
        probes::Plan { period: Duration::from_secs(3), agents: 500, questions: 1_000 }
    } else {
        probes::Plan::default()
    }
}

fn tell(line: &str) {
    eprintln!("{line}");
}

/// Measures some contenders, writes nothing but the figures, and prints what the report would say.
///
/// # Errors
/// When none can be measured, or the file cannot be written.
pub fn steady(args: &SteadyArgs) -> anyhow::Result<()> {
    let contenders = args.contenders.clone();
    ensure!(contenders.contains(&Contender::Direct), "measure without direct: there would be no ratios");
    let slice = Duration::from_secs(args.slice);
    interrupt::watch()?;
    let plan = steady::Plan {
        whence: args.whence,
        contenders,
        workloads: if args.workloads.is_empty() { Workload::ALL.to_vec() } else { args.workloads.clone() },
        rounds: args.rounds.into(),
        slice,
        warm_up: slice / 3,
        settle: Duration::from_secs(args.settle),
    };
    let steady = steady::measure(&plan)?;
    ensure!(!interrupt::happened(), "measure: interrupted; everything was removed");
    print!("{}", steady.render());
    let json = serde_json::to_string_pretty(&steady).context("write the figures as JSON")?;
    std::fs::write(&args.json, json).with_context(|| format!("write {}", args.json.display()))
}

/// Measures some contenders while masters fail, and prints what the report would say.
///
/// # Errors
/// After Ctrl-C.
pub fn failover(args: &FailoverArgs) -> anyhow::Result<()> {
    interrupt::watch()?;
    let (contenders, faults) = (args.contenders.clone(), args.faults.clone());
    let plan = failover::Plan { rounds: args.rounds.into(), contenders, faults };
    let failover = failover::measure(&plan, tell);
    ensure!(!interrupt::happened(), "measure: interrupted; everything was removed");
    print!("{}", failover.render());
    Ok(())
}

/// Renders the report from its figures.
///
/// # Errors
/// When a file cannot be read or written.
pub fn render(args: &RenderArgs) -> anyhow::Result<()> {
    let mut results = Results::load(&args.out)?;
    if let Some(file) = &args.ipvs {
        let steady = read(file)?;
        match steady.whence {
            Whence::Node => results.ipvs = Some(steady),
            Whence::Vm => results.ipvs_forwarded = Some(steady),
            Whence::Wire | Whence::Outside => {
                bail!(
                    "take in {}: the report has no section for these clients; hint: measure with --whence node or vm",
                    file.display()
                )
            }
        }
        results.commands.extend(args.command.clone());
    }
    results.save(&args.out)
}

fn read(file: &Path) -> anyhow::Result<Steady> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
}
