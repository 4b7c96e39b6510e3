//! What lbctl is held to.

use super::{Fleet, Probes, Watched};
use crate::bar::Bar;

/// Of one agent on one master, in percent of a core.
const MOST_ADDED_PERCENT: f64 = 0.02;
/// Of the idle agent, in percent of a core.
const MOST_AGENT_PERCENT: f64 = 0.3;
/// Of the idle agent, in MiB.
const MOST_AGENT_MIB: f64 = 12.0;
/// Of 5,000 agents on one master, in percent of a core.
const MOST_FLEET_PERCENT: f64 = 100.0;

pub(super) fn check(probes: &Probes) -> Vec<Bar> {
    let watched = probes.watched.iter().flat_map(of_one_agent);
    watched.chain(probes.fleet.iter().map(of_a_fleet)).collect()
}

fn of_one_agent(watched: &Watched) -> [Bar; 3] {
    let Watched { agent_percent, .. } = watched;
    let (added, mib) = (watched.added_percent(), mebibytes(watched.agent_resident));
    [
        Bar {
            text: format!("one agent's probes cost a master less than {MOST_ADDED_PERCENT} % of a core"),
            figure: format!("{added:.4} %"),
            met: added < MOST_ADDED_PERCENT,
        },
        Bar {
            text: format!("the idle agent uses at most {MOST_AGENT_PERCENT} % of a core"),
            figure: format!("{agent_percent:.3} %"),
            met: *agent_percent <= MOST_AGENT_PERCENT,
        },
        Bar {
            text: format!("the idle agent's resident memory is at most {MOST_AGENT_MIB} MiB"),
            figure: format!("{mib:.1} MiB"),
            met: mib <= MOST_AGENT_MIB,
        },
    ]
}

/// Only where everybody got in and every question was answered is the figure that of so many agents.
fn of_a_fleet(fleet: &Fleet) -> Bar {
    let percent = fleet.steady.server_percent();
    let is_whole = fleet.turned_away == 0 && fleet.answers.lost == 0;
    let shortfall = if is_whole { "" } else { ", but not every agent was served" };
    Bar {
        text: format!("{} agents cost a master less than one core", fleet.agents),
        figure: format!("{percent:.0} % of a core{shortfall}"),
        met: is_whole && percent < MOST_FLEET_PERCENT,
    }
}

/// Of bytes.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_adds_is_the_difference_of_the_means() {
        let watched = Watched {
            seconds: 30.0,
            masters_alone_percent: vec![0.001, 0.001, 0.001],
            masters_percent: vec![0.011, 0.021, 0.031],
            agent_percent: 0.31,
            agent_resident: 12 << 20,
        };
        let met: Vec<bool> = of_one_agent(&watched).iter().map(|bar| bar.met).collect();
        assert_eq!(met, [false, false, true]);
    }
}
