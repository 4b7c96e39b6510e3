//! What probes cost: the masters, and the node that probes.
//!
//! `watched` is a real agent beside three masters, `bare` what being woken costs by itself, `client` the side that asks questions of one master, `fleet` thousands of
//! agents in one process, `peer` one connection, `table` the report's section, `bars` what lbctl is held to.

mod bare;
mod bars;
mod client;
mod fleet;
mod peer;
mod table;
mod watched;

use std::time::Duration;

use anyhow::{Context, ensure};
use lb_tests::lab::HOSTNAME;
use lb_tests::pki::Signer;
use lb_tests::{Lab, interrupt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::client::{Args, Question, Single, Took, run};
pub use self::fleet::{Answers, Fleet};
pub use self::watched::Watched;
use crate::contender::Scheme;
use crate::report::Bar;

/// The figures of all probes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Probes {
    /// Three masters with one agent and without.
    pub watched: Option<Watched>,
    /// One question.
    pub single: Option<Single>,
    /// Thousands of agents at one master.
    pub fleet: Option<Fleet>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long an agent is watched, and a fleet probes.
    pub period: Duration,
    /// How many agents come to one master.
    pub agents: u32,
    /// How many questions of each kind are asked in a loop.
    pub questions: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self { period: Duration::from_secs(30), agents: 5_000, questions: 20_000 }
    }
}

impl Probes {
    /// The report's section, Markdown.
    #[must_use]
    pub fn render(&self) -> String {
        table::render(self)
    }

    /// What lbctl is held to, and what was seen.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        bars::check(self)
    }
}

/// Measures it all, and tells each step's outcome to `tell`. What fails is noted and left out.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Probes {
    let mut missing = Vec::new();
    let watched = note(watched::measure(plan.period), "probes: one agent", &mut missing, &mut tell);
    let count = plan.questions.to_string();
    let single = note(ask(&["loop", "--count", &count]), "probes: one question", &mut missing, &mut tell);
    let (agents, seconds) = (plan.agents.to_string(), plan.period.as_secs().to_string());
    let fleet = ["fleet", "--connections", &agents, "--seconds", &seconds];
    let fleet = note(ask(&fleet), "probes: a fleet of agents", &mut missing, &mut tell);
    Probes { watched, single, fleet, missing }
}

fn note<T>(
    outcome: anyhow::Result<T>,
    what: &str,
    missing: &mut Vec<String>,
    tell: &mut impl FnMut(&str),
) -> Option<T> {
    match outcome {
        Ok(value) => {
            tell(&format!("{what}: done"));
            Some(value)
        }
        Err(error) => {
            tell(&format!("{what}: failed: {error:#}"));
            missing.push(format!("{what}: {error:#}"));
            None
        }
    }
}

/// Runs the client against a master just started, from the node.
fn ask<T: DeserializeOwned>(work: &[&str]) -> anyhow::Result<T> {
    ensure!(!interrupt::happened(), "interrupted");
    let lab = Scheme::Tls.lab(Lab::builder().masters(1))?;
    let master = lab.masters().first().context("find the master")?;
    let (target, ca) = (master.address().to_string(), lab.pki().ca(Signer::Lab));
    let server = master.pid().context("find the master's process")?.to_string();
    let ca = ca.to_string_lossy();
    let whom =
        ["probes-client", "--target", &target, "--ca", &ca, "--server-name", HOSTNAME, "--server", &server];
    let program = std::env::current_exe().context("find the running program")?;
    let mut client = lab.node().spawn_outside(&program, &[&whom, work].concat())?;
    let stdout = client.wait_deadline(CLIENT_DEADLINE)?.success().context("run the client")?;
    serde_json::from_str(stdout.trim()).with_context(|| format!("read the client's report {stdout:?}"))
}

/// Far longer than any work takes: the handshakes of a fleet, and its 30 s of probes.
const CLIENT_DEADLINE: Duration = Duration::from_secs(240);
