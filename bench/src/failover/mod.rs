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

use lb_tests::Lab;
use serde::{Deserialize, Serialize};

pub use self::fault::Fault;
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
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

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
                let began = Instant::now();
                let what = format!("failover, round {round}: {}: {}", fault.name(), contender.name());
                let outcome = run(&mut lab, *contender, *fault, round, number + round as usize);
                let took = began.elapsed().as_secs_f64();
                match outcome {
                    Ok(run) => {
                        tell(&format!("{what}: {} ({took:.0} s)", run.figures.line()));
                        failover.runs.push(run);
                    }
                    Err(error) => {
                        lab = None;
                        tell(&format!("{what}: failed: {error:#}"));
                        failover.missing.push(format!("{what}: {error:#}"));
                    }
                }
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

/// In a lab that is made anew where there is none, as after a run that failed.
fn run(
    lab: &mut Option<Lab>,
    contender: Contender,
    fault: Fault,
    round: u32,
    turn: usize,
) -> anyhow::Result<Run> {
    let lab = match lab {
        Some(lab) => lab,
        None => lab.insert(build()?),
    };
    let victim = turn % lab.masters().len().max(1);
    let figures = strike::strike(lab, contender, fault, victim)?;
    Ok(Run { contender, fault, round, victim, figures })
}

fn build() -> anyhow::Result<Lab> {
    let lab = Lab::builder().not_started().build()?;
    lab.masters().iter().try_for_each(|master| master.start_as(fault::launch()))?;
    Ok(lab)
}
