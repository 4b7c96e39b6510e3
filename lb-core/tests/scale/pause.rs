//! All masters pause at once: an overloaded etcd, a hypervisor, a network between.

use std::time::Duration;

use crate::{
    NODES,
    cluster::{Chance, Cluster},
    storm::{CORES, assumed, handshake_cost},
    table,
    world::{Manner, secs},
};

const WARM: f64 = 3.0;

/// All masters behave like this for so many seconds. Gives the cluster some seconds later, and the fewest that served on
/// any node at any time.
fn paused(manner: Manner, seconds: f64) -> (Cluster, usize) {
    let mut cluster = Cluster::started_together(NODES, Chance::Own, "");
    cluster.warm_up(secs(WARM));
    (0..3).for_each(|master| cluster.becomes(master, manner));
    let mut fewest = 3;
    let mut at = WARM;
    while at < WARM + seconds {
        at += 0.1;
        cluster.run(secs(at));
        fewest = fewest.min(cluster.serving().min().unwrap());
    }
    (0..3).for_each(|master| cluster.becomes(master, Manner::Serves));
    cluster.run(secs(WARM + seconds + 3.0));
    (cluster, fewest)
}

fn row(name: &str, seconds: f64, cluster: &Cluster, fewest: usize) -> [String; 9] {
    let traffic = &cluster.world.traffic;
    let (begin, over) = (secs(WARM), secs(WARM + seconds));
    let after = over..over + secs(2.0);
    let wait = traffic.handshakes[0].longest_wait(handshake_cost(), CORES, after.clone());
    let clients = &cluster.cohorts[0];
    let outage = clients.outages.iter().max().map_or(0.0, Duration::as_secs_f64);
    [
        name.to_owned(),
        fewest.to_string(),
        clients.evicted.to_string(),
        format!("{outage:.1} s"),
        traffic.readyz[0].total(begin..over).to_string(),
        traffic.attempts[0].total(begin..over).to_string(),
        traffic.handshakes[0].most(100, after.clone()).to_string(),
        traffic.handshakes[0].total(after).to_string(),
        format!("{wait:.0} ms"),
    ]
}

#[test]
fn masters_that_all_pause_keep_their_nodes_and_connections() {
    let mut rows = Vec::new();
    for (manner, seconds, name) in [
        (Manner::Hangs, 1.0, "processes stand still for 1 s"),
        (Manner::Hangs, 2.0, "processes stand still for 2 s"),
        (Manner::Unreachable, 2.0, "nothing comes through for 2 s"),
    ] {
        let (cluster, fewest) = paused(manner, seconds);
        rows.push(row(name, seconds, &cluster, fewest));
        assert!(cluster.serving().all(|serving| serving == 3), "{name}: all serve again");
        // Where nothing comes through, hosts count as gone after 1.2 s: that is what `lb-core` does, and printed here.
        if manner == Manner::Hangs {
            assert!(fewest > 0, "{name}: somebody serves on each node");
            assert!(
                cluster.cohorts.iter().all(|cohort| cohort.evicted == 0),
                "{name}: no connection is ended"
            );
        }
    }
    let heads = [
        "all three masters",
        "fewest that serve a node",
        "connections ended",
        "a client without, at most",
        "readyz in it",
        "connects in it",
        "handshakes in 100 ms after",
        "in 2 s",
        "longest wait",
    ];
    let title =
        format!("All masters pause: what one gets of the agents, and client-go's connections; {}", assumed());
    table::print(&title, heads, &rows);
}
