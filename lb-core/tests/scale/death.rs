//! The seconds after a master dies.

use std::time::Duration;

use crate::{
    NODES,
    cluster::Chance,
    storm::{Fault, HEADS, SURVIVORS, Storm, VICTIM, assumed},
    table,
    world::secs,
};

/// Prints what the agents sent, a second's worth each.
fn print_agents(storm: &Storm) {
    let traffic = &storm.cluster.world.traffic;
    let begin = storm.death;
    let names = ["before", "second 1", "second 2", "second 3", "the last two, a second"];
    let spans = [
        begin - secs(2.0)..begin,
        begin..begin + secs(1.0),
        begin + secs(1.0)..begin + secs(2.0),
        begin + secs(2.0)..begin + secs(3.0),
        storm.cluster.world.now - secs(2.0)..storm.cluster.world.now,
    ];
    let rows: Vec<_> = names
        .into_iter()
        .zip(spans)
        .map(|(name, span)| {
            let rate = |tally: &crate::tally::Tally| format!("{:.0}", tally.rate(span.clone()));
            [
                name.to_owned(),
                rate(&traffic.pings[VICTIM]),
                rate(&traffic.readyz[VICTIM]),
                rate(&traffic.attempts[VICTIM]),
                rate(&traffic.knocks[VICTIM]),
                rate(&traffic.pings[1]),
                rate(&traffic.readyz[1]),
                rate(&traffic.handshakes[1]),
            ]
        })
        .collect();
    let heads = ["when", "PING", "readyz", "connects", "knocks", "survivor: PING", "readyz", "handshakes"];
    let between =
        |(first, last): (Duration, Duration)| format!("{} to {} ms", first.as_millis(), last.as_millis());
    let title = format!(
        "What agents send, {}: nodes leave the dead one after {}, and find it dead after {}",
        storm.fault.name(),
        between(storm.left()),
        between(storm.found_dead()),
    );
    table::print(&title, heads, &rows);
}

fn print_shares(storm: &Storm) {
    let rows: Vec<_> = storm
        .cluster
        .cohorts
        .iter()
        .zip(&storm.before)
        .map(|(cohort, before)| {
            let shares = |shares: [usize; 3]| shares.map(|share| share.to_string()).join(" ");
            [cohort.name().to_owned(), shares(*before), shares(cohort.shares()), cohort.refused.to_string()]
        })
        .collect();
    let title = format!("Connections of each master, {}", storm.fault.name());
    table::print(&title, ["policy, clients", "before", "after", "dials refused"], &rows);
}

fn print_storms(storms: &[&Storm]) {
    let rows: Vec<_> = storms.iter().flat_map(|storm| (0..3).map(|number| storm.row(number))).collect();
    table::print(&format!("Handshakes with a survivor, {}", assumed()), HEADS, &rows);
}

/// Prints what came of a death, beside what would have without jitter, and asserts what holds for each.
fn tell(storm: &Storm, without: Option<&Storm>) {
    let storms: Vec<_> = std::iter::once(storm).chain(without).collect();
    print_storms(&storms);
    print_agents(storm);
    print_shares(storm);
    storms.iter().for_each(|storm| storm.assert_all_are_back());
    assert_agents_leave_the_survivors_alone(storm);
}

/// The survivors must not notice a death by the agents' own traffic.
fn assert_agents_leave_the_survivors_alone(storm: &Storm) {
    let traffic = &storm.cluster.world.traffic;
    for survivor in SURVIVORS {
        assert_eq!(traffic.handshakes[survivor].total(storm.span()), 0, "no agent reconnects to a survivor");
        for (tally, what) in [(&traffic.pings[survivor], "PINGs"), (&traffic.readyz[survivor], "probes")] {
            let before = tally.rate(storm.death - secs(3.0)..storm.death);
            let most = f64::from(tally.most(1000, storm.span()));
            assert!(most < 1.3 * before, "{what}: {most} in a second, {before} before");
        }
    }
}

#[test]
fn a_killed_master_is_left_at_once_and_costs_each_survivor_half_of_its_connections() {
    let storm = Storm::after(Fault::Killed, Chance::Own, 5.0);
    tell(&storm, None);
    let (_, last) = storm.found_dead();
    assert!(last < Duration::from_millis(100), "three refusals 15 ms apart: {last:?}");
    let attempts = &storm.cluster.world.traffic.attempts[VICTIM];
    let first_second = attempts.total(storm.death..storm.death + secs(1.0)) as usize;
    assert!(first_second <= 4 * NODES, "fall, and one more: {first_second}");
    assert!(storm.outage(0, 1.0) < 3.5, "who was refused once or twice is back after its back-offs");
}

#[test]
fn a_power_loss_is_noticed_node_by_node_and_the_jitter_spreads_the_storm() {
    let storm = Storm::after(Fault::PowerLost, Chance::Own, 5.0);
    let without = Storm::after(Fault::PowerLost, Chance::Same, 3.6);
    tell(&storm, Some(&without));
    assert!(storm.outage(0, 1.0) < 2.0, "nobody dials in vain");
    let (first, last) = storm.found_dead();
    assert!(first >= Duration::from_millis(1200), "a host is gone after 1.2 s: {first:?}");
    assert!(last < Duration::from_millis(1800), "of a silence that began within a heartbeat: {last:?}");
    let most = [&storm, &without].map(|storm| storm.cluster.most(2, 10, storm.span()));
    assert!(most[0] * 5 < most[1], "clients that dial at once: {most:?} in 10 ms");
}

#[test]
fn a_stopped_master_keeps_its_connections_until_dead_after() {
    let storm = Storm::after(Fault::Stopped, Chance::Own, 6.5);
    tell(&storm, None);
    let (_, last) = storm.found_dead();
    assert!(
        last < Duration::from_millis(4600),
        "deadAfter of a silence that began within a heartbeat: {last:?}"
    );
    let early = storm.death..storm.death + secs(4.0);
    assert_eq!(storm.cluster.most(0, 1000, early), 0, "deadAfter is 4 s");
}
