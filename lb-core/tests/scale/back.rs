//! The return of a master that was dead.

use std::ops::Range;

use crate::{
    NODES,
    cluster::{Chance, Cluster},
    storm::{CORES, SURVIVORS, VICTIM, assumed, handshake_cost},
    table,
    world::{Manner, Time, secs},
};

const WARM: f64 = 3.0;

/// A cluster in which a master was killed, was away for so many seconds, and came back.
struct Return {
    cluster: Cluster,
    back: Time,
    before: Vec<[usize; 3]>,
}

impl Return {
    fn after(nodes: usize, away: f64, more: &str, seconds: f64) -> Self {
        let mut cluster = Cluster::started_together(nodes, Chance::Own, more);
        cluster.warm_up(secs(WARM));
        cluster.kill(VICTIM);
        let back = secs(WARM + away);
        cluster.run(back);
        let before = cluster.cohorts.iter().map(|cohort| cohort.shares()).collect();
        cluster.becomes(VICTIM, Manner::Serves);
        cluster.run(back + secs(seconds));
        Self { cluster, back, before }
    }

    fn span(&self, from: f64, to: f64) -> Range<Time> {
        self.back + secs(from)..self.back + secs(to)
    }

    /// The part of new connections that would go to the one that is back, over all nodes.
    fn share(&self) -> f64 {
        let share = |set: &crate::clients::Set| {
            let whole: u32 = set.iter().map(|(_, weight)| weight).sum();
            let own = set.iter().find(|(master, _)| *master == VICTIM).map_or(0, |(_, weight)| *weight);
            f64::from(own) / f64::from(whole)
        };
        self.cluster.sets().map(share).sum::<f64>() / self.cluster.sets().count() as f64
    }

    fn assert_no_connection_moved(&self) {
        for (cohort, before) in self.cluster.cohorts.iter().zip(&self.before) {
            let after = cohort.shares();
            assert_eq!(after[VICTIM], 0, "{}: no connection moves by itself", cohort.name());
            // Who waits for its turn after a refusal may still come, to those that serve.
            assert!(SURVIVORS.iter().all(|master| after[*master] >= before[*master]), "{}", cohort.name());
        }
    }
}

#[test]
fn a_master_that_is_back_gets_two_handshakes_from_each_node_and_no_connection() {
    let mut rows = Vec::new();
    for away in [5.0, 12.0] {
        let returned = Return::after(NODES, away, "", 8.0);
        let handshakes = &returned.cluster.world.traffic.handshakes[VICTIM];
        let all = returned.span(0.0, 8.0);
        let last = returned.cluster.changed().max().unwrap() - returned.back;
        rows.push([
            format!("{away} s"),
            handshakes.total(all.clone()).to_string(),
            handshakes.most(10, all.clone()).to_string(),
            handshakes.most(100, all.clone()).to_string(),
            handshakes.most(1000, all.clone()).to_string(),
            format!("{:.0} ms", handshakes.longest_wait(handshake_cost(), CORES, all.clone())),
            format!("{:.2} s", last.as_secs_f64()),
        ]);
        returned.assert_no_connection_moved();
        assert_eq!(handshakes.total(all) as usize, 2 * NODES, "for probes, and for PINGs");
        assert!(last < secs(2.6), "a probe within 2 s, and the second of `rise` 0.5 s after it: {last:?}");
    }
    let heads = [
        "away for",
        "agents' handshakes",
        "in 10 ms",
        "in 100 ms",
        "in 1 s",
        "longest wait",
        "serves everywhere after",
    ];
    table::print(&format!("The return of a killed master, {}", assumed()), heads, &rows);
}

#[test]
fn with_slow_start_its_share_grows_step_by_step() {
    let mut returned = Return::after(1_000, 3.0, ", slowStart: 10s", 0.0);
    let mut rows = Vec::new();
    let mut shares = Vec::new();
    for second in 0..14 {
        returned.cluster.run(returned.back + secs(f64::from(second)));
        shares.push(returned.share());
        rows.push([format!("{second} s"), format!("{:.1} %", 100.0 * returned.share())]);
    }
    table::print(
        "New connections that go to the one that is back, slowStart: 10s",
        ["after", "share"],
        &rows,
    );
    assert!(shares.is_sorted(), "it never shrinks: {shares:?}");
    assert!(shares[4] < 0.2, "a third of the time, so a third of the weight or so: {shares:?}");
    assert!((shares[13] - 1.0 / 3.0).abs() < 0.001, "all of it in the end: {shares:?}");
    returned.assert_no_connection_moved();
}
