//! A real agent at its default settings and three masters, with nothing else to do; before that, the masters alone.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;
use lb_tests::Lab;
use lb_tests::lab::Master;
use serde::{Deserialize, Serialize};

use super::bare::Bare;
use crate::contender::{Contender, Scheme};
use crate::usage;

/// What beginning costs is over by then: the handshakes, and the agent's first look at the kernel.
const SETTLE: Duration = Duration::from_secs(8);

/// What one agent costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// How long each half was measured.
    pub seconds: f64,
    /// Percent of a core that each master used without an agent.
    pub masters_alone_percent: Vec<f64>,
    /// Percent of a core that each master used with one.
    pub masters_percent: Vec<f64>,
    /// Percent of a core that a thread used meanwhile that was sent as many messages as each master and answered them.
    pub bare_percent: f64,
    /// Percent of a core that the agent used.
    pub agent_percent: f64,
    /// The agent's resident memory at the end, in bytes.
    pub agent_resident: u64,
}

impl Watched {
    /// What one agent adds to one master, on average, in percent of a core.
    #[must_use]
    pub fn added_percent(&self) -> f64 {
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len().max(1) as f64;
        mean(&self.masters_percent) - mean(&self.masters_alone_percent)
    }
}

pub(super) fn measure(period: Duration) -> anyhow::Result<Watched> {
    let lab = Scheme::Tls.lab(Lab::builder())?;
    let masters: Option<Vec<u32>> = lab.masters().iter().map(Master::pid).collect();
    let masters = masters.context("find the masters' processes")?;
    let alone = percents(&masters, period);

    let running = Contender::Socket.start(&lab, Scheme::Tls)?;
    sleep(SETTLE);
    let agent = running.pids();
    let everybody = [&masters[..], &agent].concat();
    let bare = Bare::start(period);
    let mut percents = percents(&everybody, period);
    let agent_percent = percents.split_off(masters.len()).iter().sum();
    Ok(Watched {
        seconds: period.as_secs_f64(),
        masters_alone_percent: alone,
        masters_percent: percents,
        bare_percent: bare.percent()?,
        agent_percent,
        agent_resident: usage::memory(&agent)?.resident,
    })
}

/// What each process uses in the coming period.
fn percents(pids: &[u32], period: Duration) -> Vec<f64> {
    let used = || pids.iter().map(|pid| usage::cpu_time(&[*pid])).collect::<Vec<_>>();
    let (began, before) = (Instant::now(), used());
    sleep(period);
    let seconds = began.elapsed().as_secs_f64();
    let percent = |(after, before): (Duration, &Duration)| {
        100.0 * after.saturating_sub(*before).as_secs_f64() / seconds
    };
    used().into_iter().zip(&before).map(percent).collect()
}
