//! Long-lived connections that make room for a backend that returned.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Six a minute.
fn rebalanced(policy: &str) -> Bench {
    let backends = THREE.map(|backend| format!("'{backend}'")).join(", ");
    let text = format!(
        "services: [{{name: apiserver, vip: '10.0.0.100:6443', policy: {policy}, rebalance: {{perMinute: 6}}, \
         backends: [{backends}]}}]"
    );
    let config = Arc::new(config::load(Some(("test", &text)), &Overrides::default()).unwrap());
    let mut bench = Bench::resume(config, &State::default(), &Adopted::default());
    THREE.iter().for_each(|backend| bench.answer(backend, &READY, 1));
    bench
}

/// Lets time pass while all that are asked answer.
fn live(bench: &mut Bench, time: Duration) {
    live_with(bench, time, &READY);
}

/// Lets time pass while the first answers like this, and the others as they should.
fn live_with(bench: &mut Bench, time: Duration, first: &ProbeOutcome) {
    let end = bench.now.instant + time;
    while bench.now.instant < end {
        bench.pass(Duration::from_millis(500));
        for backend in THREE {
            if bench.under_way.contains_key(&key(backend)) {
                bench.answer(backend, if backend == THREE[0] { first } else { &READY }, 1);
            }
        }
    }
}

/// The first dies and returns; the others have so many connections then.
fn returned(bench: &mut Bench, second: u64, third: u64) {
    bench.answer(THREE[0], &REFUSED, 3);
    let counted = BTreeMap::from([(pair(THREE[0]), 5), (pair(THREE[1]), second), (pair(THREE[2]), third)]);
    bench.event(Event::Counted(counted.clone()));
    live_with(bench, MINUTE, &REFUSED);
    assert_eq!(bench.thinned, [], "never while anything is unhealthy");
    bench.answer(THREE[0], &READY, 2);
    bench.event(Event::Counted(counted));
}

fn of(bench: &Bench, address: &str) -> usize {
    bench.thinned.iter().filter(|(_, thinned)| *thinned == pair(address)).count()
}

#[test]
fn each_old_connection_is_ended_once_at_the_pace_and_those_of_the_one_that_returned_are_not() {
    let mut bench = rebalanced("random");
    live(&mut bench, MINUTE);
    returned(&mut bench, 9, 3);
    let begin = bench.now.instant;
    live(&mut bench, MINUTE * 4);
    assert_eq!([of(&bench, THREE[0]), of(&bench, THREE[1]), of(&bench, THREE[2])], [0, 9, 3]);
    assert!(
        bench.thinned[..6].iter().all(|(_, thinned)| *thinned == pair(THREE[1])),
        "the most crowded first"
    );
    let last = bench.thinned.last().unwrap().0 - begin;
    assert!(last > Duration::from_secs(60) && last < Duration::from_secs(180), "12, six a minute: {last:?}");
    let waits: BTreeSet<_> = bench.thinned.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert!(waits.len() > 3, "left to chance: {waits:?}");
}

#[test]
fn with_least_conn_only_the_share_of_the_one_that_returned_is_ended() {
    let mut bench = rebalanced("least-conn");
    returned(&mut bench, 6, 6);
    live(&mut bench, MINUTE * 4);
    assert_eq!([of(&bench, THREE[1]), of(&bench, THREE[2])], [2, 2]);
}

#[test]
fn with_sticky_only_nodes_whose_home_returned_end_any() {
    let mut ended = Vec::new();
    for node in 0..30 {
        let mut bench = rebalanced("sticky");
        bench.controller.set_node(format!("node-{node}"));
        returned(&mut bench, 2, 0);
        live(&mut bench, MINUTE);
        ended.push(bench.thinned.len());
    }
    let (all, none) = (ended.iter().filter(|n| **n == 2).count(), ended.iter().filter(|n| **n == 0).count());
    assert_eq!(all + none, 30, "{ended:?}");
    assert!((4..=18).contains(&all), "a third of them, by chance: {ended:?}");
}

#[test]
fn it_rests_while_somebody_is_not_well_and_goes_on_afterwards() {
    let mut bench = rebalanced("random");
    returned(&mut bench, 4, 4);
    live(&mut bench, Duration::from_secs(20));
    let before = bench.thinned.len();
    assert!((1..=4).contains(&before), "{:?}", bench.thinned);
    let timed_out = ProbeOutcome::Failed(Failure::Timeout(Phase::Request));
    bench.answer(THREE[1], &timed_out, 1);
    for _ in 0..30 {
        bench.pass(Duration::from_millis(100));
    }
    assert_eq!(bench.thinned.len(), before, "one is suspect");
    live(&mut bench, MINUTE * 3);
    assert_eq!(bench.thinned.len(), 8);
}

#[test]
fn without_a_return_or_without_the_setting_nothing_is_ended() {
    let mut bench = rebalanced("random");
    bench.event(Event::Counted(BTreeMap::from([(pair(THREE[1]), 50)])));
    live(&mut bench, MINUTE * 3);
    assert_eq!(bench.thinned, [], "nobody returned");
    let mut bench = Bench::all_up(&THREE);
    returned(&mut bench, 9, 9);
    live(&mut bench, MINUTE * 3);
    assert_eq!(bench.thinned, [], "off by default");
}
