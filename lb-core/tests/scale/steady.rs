//! What nodes cost their masters while nothing happens.

use std::ops::Range;

use crate::{
    NODES,
    cluster::{Chance, Cluster},
    table,
    tally::Tally,
    world::{Time, secs},
};

/// By then agents that started together have spread.
const WARM: f64 = 2.0;

const HEADS: [&str; 6] =
    ["nodes", "one master gets", "a second", "in 10 ms: median, 99 %, most", "in 100 ms", "most in 1 s"];

fn row(nodes: &str, what: &str, tally: &Tally, span: &Range<Time>) -> [String; 6] {
    let spread = |millis| {
        let windows = tally.windows(millis, span.clone());
        let at = |part: f64| windows[((windows.len() - 1) as f64 * part) as usize];
        format!("{}, {}, {}", at(0.5), at(0.99), at(1.0))
    };
    [
        nodes.to_owned(),
        what.to_owned(),
        format!("{:.1}", tally.rate(span.clone())),
        spread(10),
        spread(100),
        tally.most(1000, span.clone()).to_string(),
    ]
}

fn rows(nodes: &str, cluster: &Cluster, span: &Range<Time>) -> Vec<[String; 6]> {
    let traffic = &cluster.world.traffic;
    let kinds =
        [("PING", &traffic.pings), ("readyz", &traffic.readyz), ("TLS handshake", &traffic.handshakes)];
    kinds.map(|(what, tallies)| row(nodes, what, &tallies[0], span)).into()
}

#[test]
fn nodes_cost_their_masters_in_proportion_and_evenly() {
    let mut table = Vec::new();
    for nodes in [3, 50, 500, NODES] {
        let mut cluster = Cluster::started_together(nodes, Chance::Own, "");
        cluster.run(secs(WARM + 10.0));
        let span = secs(WARM)..secs(WARM + 10.0);
        table.extend(rows(&nodes.to_string(), &cluster, &span));
        let traffic = &cluster.world.traffic;
        for master in 0..3 {
            let of_node = |tally: &Tally| tally.rate(span.clone()) / nodes as f64;
            let (pings, readyz) = (of_node(&traffic.pings[master]), of_node(&traffic.readyz[master]));
            assert!(readyz <= 1.0 / 1.6, "one in 2 s, less a tenth of jitter and of slack: {readyz}");
            assert!(
                pings + readyz <= 2.4,
                "one sign of life in 0.5 s, less one slot of eight: {pings} {readyz}"
            );
            assert_eq!(traffic.handshakes[master].total(span.clone()), 0, "connections are kept");
        }
        if nodes == NODES {
            let (most, mean) =
                (traffic.pings[0].most(10, span.clone()), traffic.pings[0].rate(span.clone()) / 100.0);
            assert!(f64::from(most) < 2.0 * mean, "PINGs do not bunch: {most} in 10 ms, {mean} on average");
            let (most, mean) =
                (traffic.readyz[0].most(100, span.clone()), traffic.readyz[0].rate(span) / 10.0);
            assert!(f64::from(most) < 2.0 * mean, "nor do probes: {most} in 100 ms, {mean} on average");
        }
    }
    let mut same = Cluster::started_together(NODES, Chance::Same, "");
    same.run(secs(WARM + 4.0));
    table.extend(rows(&format!("{NODES}, no jitter"), &same, &(secs(WARM)..secs(WARM + 4.0))));
    table::print("Nothing happens", HEADS, &table);
}

#[test]
fn connections_for_pings_are_made_anew_before_they_are_idle_for_90_s_and_not_together() {
    let nodes = 500;
    let mut cluster = Cluster::started_together(nodes, Chance::Own, "");
    cluster.run(secs(90.0));
    let handshakes = &cluster.world.traffic.handshakes[0];
    let span = secs(WARM)..secs(90.0);
    assert_eq!(handshakes.total(span.clone()) as usize, nodes, "one for each node");
    assert_eq!(handshakes.total(secs(WARM)..secs(55.0)), 0);
    let most = handshakes.most(1000, span);
    table::print("Connections made anew in 90 s, of 500 nodes", ["most in 1 s"], &[[most.to_string()]]);
    assert!(most < 50, "in 20 s 500: {most} in one");
}
