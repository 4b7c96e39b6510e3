//! What lbctl is held to.

use super::{Fleet, Probes, Watched};
use crate::report::{Bar, Limit, mebibytes, number};

/// Of one agent on one master, in percent of a core.
const MOST_ADDED_PERCENT: f64 = 0.02;
/// Of the idle agent, in percent of a core.
const MOST_AGENT_PERCENT: f64 = 0.3;
/// Of the idle agent, in MiB.
const MOST_AGENT_MIB: f64 = 12.0;
/// Of 5,000 agents on one master, in percent of a core.
const MOST_FLEET_PERCENT: f64 = 100.0;

pub(super) fn check(probes: &Probes) -> Vec<Bar> {
    let (watched, fleet) = (probes.watched.as_ref(), probes.fleet.as_ref());
    let bar = |what: &str, most, figure: Option<f64>, unit| Bar {
        what: what.to_owned(),
        limit: Limit::AtMost(most),
        figure,
        remark: String::new(),
        unit,
    };
    let agents = fleet.map_or(0, |fleet| fleet.agents);
    let what = format!("{} agents' probes, CPU of a master", number(f64::from(agents)));
    let of_a_fleet = bar(&what, MOST_FLEET_PERCENT, fleet.and_then(of_all), "% of a core");
    let added = watched.map(Watched::added_percent);
    vec![
        bar("one agent's probes, CPU of a master", MOST_ADDED_PERCENT, added, "% of a core"),
        of_a_fleet,
        bar(
            "idle agent, CPU",
            MOST_AGENT_PERCENT,
            watched.map(|watched| watched.agent_percent),
            "% of a core",
        ),
        bar(
            "idle agent, resident",
            MOST_AGENT_MIB,
            watched.map(|watched| mebibytes(watched.agent_resident)),
            "MiB",
        ),
    ]
}

/// Only where everybody got in and every question was answered is the figure that of so many agents.
fn of_all(fleet: &Fleet) -> Option<f64> {
    let is_whole = fleet.turned_away == 0 && fleet.answers.lost == 0;
    is_whole.then(|| fleet.steady.server_percent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_adds_is_the_difference_of_the_means() {
        let watched = Watched {
            seconds: 30.0,
            masters_alone_percent: vec![0.001, 0.001, 0.001],
            masters_percent: vec![0.011, 0.020, 0.030],
            bare_percent: 0.005,
            agent_percent: 0.31,
            agent_resident: 12 << 20,
        };
        let bars = check(&Probes { watched: Some(watched), ..Probes::default() });
        let met: Vec<Option<bool>> = bars.iter().map(Bar::is_met).collect();
        assert_eq!(met, [Some(true), None, Some(false), Some(true)]);
    }
}
