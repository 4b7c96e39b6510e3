//! What clients notice when a master fails.
//!
//! `fault` is what happens to a master, `strike` one fault from beginning to end, `figures` what it did to the clients,
//! `span` times that may not have ended, `table` the report's section, `plots` its pictures, `bars` what lbctl is held to.

mod bars;
mod fault;
mod figures;
#[cfg(test)]
mod figures_tests;
mod plots;
mod span;
mod strike;
mod table;

use std::time::Instant;

use lb_tests::{Lab, interrupt};
use serde::{Deserialize, Serialize};

pub use self::fault::Fault;
use self::figures::SLOW_MS;
pub use self::figures::{Figures, Watches};
pub use self::span::Span;
use crate::contender::Contender;
use crate::report::{Bar, Plot};

/// The balancers measured, unless told otherwise.
pub const CONTENDERS: [Contender; 4] =
    [Contender::Socket, Contender::HaproxyKubeadm, Contender::HaproxyTuned, Contender::Nginx];

/// The figures of all faults.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Failover {
    /// One for each fault of each contender in each round.
    pub runs: Vec<Run>,
    /// Runs that were done again because the client itself was late: see [`MOST_LATE_MS`].
    #[serde(default)]
    pub repeated: u32,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// A client that begins an attempt so much later than planned was kept from it by something else on the machine, and what it
/// saw says as little of the balancer: half of what makes an attempt slow.
pub const MOST_LATE_MS: f64 = SLOW_MS as f64 / 2.0;
/// So often such a run is done again. Where it does not help, the last one counts.
const MOST_REPEATS: u32 = 2;

/// One fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Run {
    /// Under which balancer.
    pub contender: Contender,
    /// What happened.
    pub fault: Fault,
    /// From 1.
    pub round: u32,
    /// The number of the master that failed, from 0.
    pub victim: usize,
    /// What it did.
    pub figures: Figures,
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each fault happens to each contender.
    pub rounds: u32,
    /// Under which balancers, in this order.
    pub contenders: Vec<Contender>,
    /// Which faults, in this order.
    pub faults: Vec<Fault>,
}

/// Has every fault happen under every contender, one after the other, so that a change of the machine meets all of them.
/// Tells each run's outcome to `tell`. What fails is noted and left out.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Failover {
    let mut failover = Failover::default();
    for round in 1..=plan.rounds {
        for (number, fault) in plan.faults.iter().enumerate() {
            let mut lab = None;
            for contender in &plan.contenders {
                let case =
                    Case { contender: *contender, fault: *fault, round, turn: number + round as usize };
                failover.add(case, &mut lab, &mut tell);
            }
        }
    }
    failover
}

impl Failover {
    /// The report's section, Markdown.
    #[must_use]
    pub fn render(&self) -> String {
        table::render(self)
    }

    /// The pictures, each with its file name.
    #[must_use]
    pub fn plots(&self) -> Vec<Plot> {
        plots::draw(self)
    }

    /// What lbctl is held to, and what was seen.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        bars::check(self)
    }

    /// Of all rounds.
    fn figures(&self, contender: Contender, fault: Fault) -> Vec<&Figures> {
        let runs = self.runs.iter().filter(|run| run.contender == contender && run.fault == fault);
        runs.map(|run| &run.figures).collect()
    }
}

/// What is to be run next.
#[derive(Clone, Copy)]
struct Case {
    contender: Contender,
    fault: Fault,
    round: u32,
    /// Whose turn it is to fail.
    turn: usize,
}

impl Failover {
    /// Runs a case, again where the machine was busy with something else.
    fn add(&mut self, case: Case, lab: &mut Option<Lab>, tell: &mut impl FnMut(&str)) {
        let Case { contender, fault, round, .. } = case;
        let what = format!("failover, round {round}: {}: {}", fault.name(), contender.name());
        for repeats_left in (0..=MOST_REPEATS).rev() {
            if interrupt::happened() {
                return;
            }
            let began = Instant::now();
            match case.run(lab) {
                Ok(run) if run.figures.client_late_ms > MOST_LATE_MS && repeats_left > 0 => {
                    tell(&format!("{what}: again: the client was {:.0} ms late", run.figures.client_late_ms));
                    self.repeated += 1;
                }
                Ok(run) => {
                    let took = began.elapsed().as_secs_f64();
                    tell(&format!("{what}: {} ({took:.0} s)", run.figures.line()));
                    self.runs.push(run);
                    return;
                }
                Err(error) => {
                    *lab = None;
                    tell(&format!("{what}: failed: {error:#}"));
                    self.missing.push(format!("{what}: {error:#}"));
                    return;
                }
            }
        }
    }
}

impl Case {
    /// In a lab that is made anew where there is none, as after a run that failed.
    fn run(self, lab: &mut Option<Lab>) -> anyhow::Result<Run> {
        let lab = match lab {
            Some(lab) => lab,
            None => lab.insert(build()?),
        };
        let Self { contender, fault, round, turn } = self;
        let victim = turn % lab.masters().len().max(1);
        let figures = strike::strike(lab, contender, fault, victim)?;
        Ok(Run { contender, fault, round, victim, figures })
    }
}

fn build() -> anyhow::Result<Lab> {
    let lab = Lab::builder().not_started().build()?;
    lab.masters().iter().try_for_each(|master| master.start_as(fault::launch()))?;
    Ok(lab)
}
