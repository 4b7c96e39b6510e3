//! What balancing costs while nothing fails.
//!
//! Each figure is taken in slices: one contender is started and may settle, one client works for some seconds, both end. A round has two
//! slices of each contender, the second half in the order of the first reversed, so that a machine that gets slower or
//! faster meanwhile does so for all alike; what is compared is compared within a round.

mod section;
mod slice;
mod whence;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lb_tests::Lab;
use lb_tests::lab::Node;
use lb_tests::netns::Netns;
use rustix::system::uname;
use serde::{Deserialize, Serialize};

pub(crate) use self::slice::Client;
use self::slice::Slice;
pub use self::whence::Whence;
use crate::client::Workload;
use crate::contender::{Contender, Scheme};
use crate::statistics::{Spread, mean};

/// A fraction of the 28,000 ports that a node has for each master.
const MOST_TIME_WAIT: u32 = 1024;

/// The figures of all workloads and contenders.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steady {
    /// The kernel that ran them.
    pub kernel: String,
    /// Where the clients were.
    #[serde(default)]
    pub whence: Whence,
    /// Length of a slice in seconds, without its warm-up.
    pub slice_seconds: f64,
    /// How long the contender was at work before its client was.
    #[serde(default)]
    pub settle_seconds: f64,
    /// One for each workload and contender.
    pub runs: Vec<Run>,
    /// Contenders that could not be measured.
    pub unmeasured: Vec<Unmeasured>,
}

/// One contender under one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What the client did.
    pub workload: Workload,
    /// Through what.
    pub contender: Contender,
    /// The slices of each round, in their order.
    pub rounds: Vec<Vec<Figures>>,
}

/// What could not be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unmeasured {
    /// What the client was to do.
    pub workload: Workload,
    /// Through what.
    pub contender: Contender,
    /// What went wrong.
    pub why: String,
}

/// What one slice gives.
pub type Figures = BTreeMap<Figure, f64>;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Figure {
    /// Time of one operation, in microseconds: half of them take no longer.
    P50Micros,
    /// 99 of 100 take no longer.
    P99Micros,
    /// Operations in a second.
    PerSecond,
    /// Bytes of bodies in a second, in GiB.
    GibPerSecond,
    /// Processor time for one operation, in microseconds: client, masters, contender and the kernel's softirq threads.
    CpuMicros,
    /// Processor time of the same for one GiB, in seconds.
    CpuSecondsPerGib,
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the clients are.
    pub whence: Whence,
    /// Which contenders; the first is what the others are compared with.
    pub contenders: Vec<Contender>,
    /// What the clients do.
    pub workloads: Vec<Workload>,
    /// Rounds of each workload.
    pub rounds: usize,
    /// Length of a slice.
    pub slice: Duration,
    /// How long the client works before that.
    pub warm_up: Duration,
    /// How long the contender is at work before the client is.
    pub settle: Duration,
}

impl Workload {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Tls, Self::KeepAlive, Self::Bulk];

    /// What the masters speak to it.
    #[must_use]
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Tls => Scheme::Tls,
            Self::Connect | Self::KeepAlive | Self::Bulk => Scheme::Plain,
        }
    }

    /// Its name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect() alone",
            Self::Tls => "TLS handshake and one GET",
            Self::KeepAlive => "GETs on 8 kept connections",
            Self::Bulk => "download",
        }
    }

    /// What is measured of it.
    #[must_use]
    pub fn figures(self) -> &'static [Figure] {
        match self {
            Self::Connect | Self::Tls | Self::KeepAlive => {
                &[Figure::P50Micros, Figure::P99Micros, Figure::PerSecond, Figure::CpuMicros]
            }
            Self::Bulk => &[Figure::GibPerSecond, Figure::CpuSecondsPerGib],
        }
    }
}

/// Measures all workloads; says on stderr how far it is.
///
/// # Errors
/// When no lab can be built. A contender that fails is left out, and the report says why.
pub fn measure(plan: &Plan) -> anyhow::Result<Steady> {
    let mut steady = Steady {
        kernel: uname().release().to_string_lossy().into_owned(),
        whence: plan.whence,
        slice_seconds: plan.slice.as_secs_f64(),
        settle_seconds: plan.settle.as_secs_f64(),
        ..Steady::default()
    };
    for scheme in [Scheme::Plain, Scheme::Tls] {
        let lab = plan.whence.lab(scheme)?;
        let masters = lab.masters().iter().map(|master| master.host().netns());
        masters.chain([plan.whence.node(&lab).host().netns()]).try_for_each(do_not_probe)?;
        forget_closed_connections(plan.whence.node(&lab))?;
        for workload in plan.workloads.iter().copied().filter(|workload| workload.scheme() == scheme) {
            steady.measure_workload(&lab, workload, plan);
        }
    }
    Ok(steady)
}

impl Steady {
    fn measure_workload(&mut self, lab: &Lab, workload: Workload, plan: &Plan) {
        let mut contenders = plan.contenders.clone();
        for round in 1..=plan.rounds {
            let began = Instant::now();
            let mut slices: BTreeMap<Contender, Vec<Figures>> = BTreeMap::new();
            for contender in mirrored(&contenders) {
                if !contenders.contains(&contender) {
                    continue;
                }
                match (Slice { lab, workload, contender, plan }).measure() {
                    Ok(figures) => slices.entry(contender).or_default().push(figures),
                    Err(error) => {
                        let why = format!("{error:#}");
                        eprintln!("  {} left out: {why}", contender.name());
                        contenders.retain(|other| *other != contender);
                        self.runs.retain(|run| (run.workload, run.contender) != (workload, contender));
                        self.unmeasured.push(Unmeasured { workload, contender, why });
                    }
                }
            }
            for (contender, figures) in slices.into_iter().filter(|(name, _)| contenders.contains(name)) {
                self.run(workload, contender).rounds.push(figures);
            }
            let (name, rounds, took) = (workload.name(), plan.rounds, began.elapsed().as_secs_f64());
            eprintln!("  {name}: round {round} of {rounds} in {took:.1} s");
        }
    }

    fn run(&mut self, workload: Workload, contender: Contender) -> &mut Run {
        let is_it = |run: &Run| (run.workload, run.contender) == (workload, contender);
        let index = self.runs.iter().position(is_it).unwrap_or_else(|| {
            self.runs.push(Run { workload, contender, rounds: Vec::new() });
            self.runs.len() - 1
        });
        &mut self.runs[index]
    }

    /// How many rounds there were.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.runs.iter().map(|run| run.rounds.len()).max().unwrap_or(0)
    }

    /// The contenders measured under a workload, in the order of the report.
    #[must_use]
    pub fn contenders(&self, workload: Workload) -> Vec<Contender> {
        let of_workload = self.runs.iter().filter(|run| run.workload == workload);
        let mut contenders: Vec<Contender> = of_workload.map(|run| run.contender).collect();
        contenders.sort_unstable();
        contenders
    }

    /// A figure over all rounds.
    #[must_use]
    pub fn spread(&self, workload: Workload, contender: Contender, figure: Figure) -> Option<Spread> {
        Spread::of(&self.values(workload, contender, figure))
    }

    /// A figure divided by the one of [`Contender::Direct`] in the same round.
    #[must_use]
    pub fn ratio(&self, workload: Workload, contender: Contender, figure: Figure) -> Option<Spread> {
        self.ratio_to(workload, contender, Contender::Direct, figure)
    }

    /// A figure divided by that of another contender in the same round.
    #[must_use]
    pub fn ratio_to(
        &self,
        workload: Workload,
        contender: Contender,
        reference: Contender,
        figure: Figure,
    ) -> Option<Spread> {
        let reference = self.values(workload, reference, figure);
        Spread::of_ratios(&self.values(workload, contender, figure), &reference)
    }

    fn values(&self, workload: Workload, contender: Contender, figure: Figure) -> Vec<f64> {
        let runs = self.runs.iter().filter(|run| (run.workload, run.contender) == (workload, contender));
        runs.flat_map(|run| &run.rounds).filter_map(|slices| mean_of(slices, figure)).collect()
    }

    /// How far [`Contender::Direct`] is from itself: the first slice of a round divided by the last one of the round before,
    /// which came directly before it.
    #[must_use]
    pub fn noise(&self, workload: Workload, figure: Figure) -> Option<Spread> {
        let is_direct = |run: &&Run| (run.workload, run.contender) == (workload, Contender::Direct);
        let rounds = &self.runs.iter().find(is_direct)?.rounds;
        let of = |slice: Option<&Figures>| slice.and_then(|figures| figures.get(&figure)).copied();
        let pairs = rounds.iter().zip(rounds.iter().skip(1));
        let pairs = pairs.filter_map(|(before, after)| Some((of(before.last())?, of(after.first())?)));
        let (before, after): (Vec<f64>, Vec<f64>) = pairs.unzip();
        Spread::of_ratios(&after, &before)
    }
}

/// A congestion control that does not probe for bandwidth: BBR, where a machine has it by default, makes a slice differ from the
/// next. Reno is the one that a network namespace may always choose (`tcp_allowed_congestion_control`, ip-sysctl.rst); where
/// nothing is lost it does what CUBIC does.
fn do_not_probe(netns: &Netns) -> anyhow::Result<()> {
    let set = "net.ipv4.tcp_congestion_control=reno";
    let status = Command::new("ip").args(["netns", "exec", netns.name(), "sysctl", "-qw", set]).status();
    let status = status.context("start ip netns exec sysctl")?;
    ensure!(status.success(), "set {set} in {}: {status}", netns.name());
    Ok(())
}

/// Proxies leave thousands of connections in TIME_WAIT, which would take local ports from whoever is measured next.
fn forget_closed_connections(clients: &Node) -> anyhow::Result<()> {
    let script = format!("echo {MOST_TIME_WAIT} > /proc/sys/net/ipv4/tcp_max_tw_buckets");
    clients.run(&["sh", "-c", &script])?.success().context("set tcp_max_tw_buckets")?;
    Ok(())
}

/// A B C C B A.
fn mirrored(contenders: &[Contender]) -> Vec<Contender> {
    contenders.iter().chain(contenders.iter().rev()).copied().collect()
}

fn mean_of(slices: &[Figures], figure: Figure) -> Option<f64> {
    let values: Vec<f64> = slices.iter().filter_map(|figures| figures.get(&figure)).copied().collect();
    mean(&values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_its_own_mirror_image() {
        use Contender::{Direct, Nginx, Socket};
        assert_eq!(mirrored(&[Direct, Socket, Nginx]), [Direct, Socket, Nginx, Nginx, Socket, Direct]);
    }

    #[test]
    fn a_round_is_the_mean_of_its_slices() {
        let slices = [10.0, 30.0].map(|value| Figures::from([(Figure::PerSecond, value)]));
        assert_eq!(mean_of(&slices, Figure::PerSecond), Some(20.0));
        assert_eq!(mean_of(&slices, Figure::P50Micros), None);
    }

    #[test]
    fn noise_is_that_between_neighbouring_slices_of_direct() {
        let slices =
            |values: [f64; 2]| values.map(|value| Figures::from([(Figure::PerSecond, value)])).to_vec();
        let rounds = vec![slices([9.0, 2.0]), slices([1.0, 4.0]), slices([4.0, 9.0])];
        let run = Run { workload: Workload::Tls, contender: Contender::Direct, rounds };
        let steady = Steady { runs: vec![run], ..Steady::default() };
        let noise = |workload| steady.noise(workload, Figure::PerSecond);
        assert_eq!(noise(Workload::Tls), Some(Spread { median: 0.75, min: 0.5, max: 1.0 }));
        assert_eq!(noise(Workload::Bulk), None);
    }

    #[test]
    fn ratios_are_those_to_direct_in_the_same_round() {
        let run = |contender, values: [f64; 2]| Run {
            workload: Workload::Bulk,
            contender,
            rounds: values.map(|value| vec![Figures::from([(Figure::GibPerSecond, value)])]).to_vec(),
        };
        let runs = vec![run(Contender::Direct, [2.0, 4.0]), run(Contender::Socket, [2.0, 2.0])];
        let steady = Steady { runs, ..Steady::default() };
        let ratio = |workload| steady.ratio(workload, Contender::Socket, Figure::GibPerSecond);
        assert_eq!(ratio(Workload::Bulk), Some(Spread { median: 0.75, min: 0.5, max: 1.0 }));
        assert_eq!(ratio(Workload::Tls), None);
    }
}
