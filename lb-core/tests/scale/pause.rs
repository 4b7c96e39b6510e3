//! All masters pause at once: an overloaded etcd, a hypervisor, a network between.

use std::time::Duration;

use crate::{
    NODES,
    cluster::{Chance, Cluster},
    storm::{CORES, assumed, handshake_cost},
    table,
    world::{Manner, Time, secs},
};

const WARM: f64 = 3.0;

/// A cluster whose masters all behaved like this for so many seconds, some seconds later.
struct Paused {
    cluster: Cluster,
    seconds: f64,
    /// The fewest that served on any node, meanwhile and afterwards.
    fewest: usize,
    /// The connections that agents ended until the masters answered again.
    ended: usize,
}

impl Paused {
    fn after(manner: Manner, seconds: f64) -> Self {
        let mut cluster = Cluster::started_together(NODES, Chance::Own, "");
        cluster.warm_up(secs(WARM));
        for master in 0..3 {
            match manner {
                Manner::Refuses => cluster.kill(master),
                Manner::Serves | Manner::Hangs | Manner::Unreachable => cluster.becomes(master, manner),
            }
        }
        let over = secs(WARM + seconds);
        let meanwhile = watch(&mut cluster, over);
        let ended = cluster.cohorts[0].evicted;
        (0..3).for_each(|master| cluster.becomes(master, Manner::Serves));
        let fewest = watch(&mut cluster, over + secs(3.0)).min(meanwhile);
        Self { cluster, seconds, fewest, ended }
    }

    fn row(&self, name: &str) -> [String; 9] {
        let traffic = &self.cluster.world.traffic;
        let (begin, over) = (secs(WARM), secs(WARM + self.seconds));
        let after = over..over + secs(2.0);
        let wait = traffic.handshakes[0].longest_wait(handshake_cost(), CORES, after.clone());
        let clients = &self.cluster.cohorts[0];
        let outage = clients.outages.iter().max().map_or(0.0, Duration::as_secs_f64);
        [
            name.to_owned(),
            self.fewest.to_string(),
            self.ended.to_string(),
            (clients.evicted - self.ended).to_string(),
            format!("{outage:.1} s"),
            traffic.attempts[0].total(begin..over).to_string(),
            traffic.handshakes[0].most(100, after.clone()).to_string(),
            traffic.handshakes[0].total(after).to_string(),
            format!("{wait:.0} ms"),
        ]
    }
}

/// Runs on, and gives the fewest that served on any node.
fn watch(cluster: &mut Cluster, end: Time) -> usize {
    let mut fewest = 3;
    while cluster.world.now < end {
        cluster.run((cluster.world.now + secs(0.1)).min(end));
        fewest = fewest.min(cluster.serving().min().unwrap());
    }
    fewest
}

#[test]
fn masters_that_all_pause_keep_their_nodes_and_connections() {
    let mut rows = Vec::new();
    for (manner, seconds, name) in [
        (Manner::Hangs, 1.0, "stand still for 1 s"),
        (Manner::Hangs, 2.0, "stand still for 2 s"),
        (Manner::Unreachable, 2.0, "unreachable for 2 s"),
        (Manner::Refuses, 3.0, "killed, back after 3 s"),
    ] {
        let paused = Paused::after(manner, seconds);
        rows.push(paused.row(name));
        assert!(paused.cluster.serving().all(|serving| serving == 3), "{name}: all serve again");
        // Who refuses is dead: then nobody serves.
        let dead = manner == Manner::Refuses;
        assert_eq!(paused.fewest == 0, dead, "{name}: {} serve on a node", paused.fewest);
        let ended = paused.cluster.cohorts.iter().map(|cohort| cohort.evicted).sum::<usize>();
        assert_eq!(ended, 0, "{name}: no connection is ended");
    }
    let heads = [
        "all three masters",
        "fewest that serve a node",
        "connections ended in it",
        "ended after it",
        "a client without, at most",
        "connects in it",
        "handshakes in 100 ms after",
        "in 2 s",
        "longest wait",
    ];
    let title =
        format!("All masters pause: what one gets of the agents, and client-go's connections; {}", assumed());
    table::print(&title, heads, &rows);
}
