//! Drains with a deadline.

use super::*;

#[test]
fn a_drain_with_a_deadline_ends_the_connections_then_and_once() {
    let mut bench = Bench::all_up(&THREE);
    let (address, timeout) = (THREE[0].parse().unwrap(), Duration::from_secs(60));
    let view = bench.operate(OperatorRequest::Drain { service: None, address, timeout }).unwrap();
    assert_eq!(
        (view.admin, view.reason.unwrap()),
        (Admin::Draining, "draining by operator, connections end at 1970-01-01T00:01:00Z".to_owned())
    );
    assert_eq!(bench.serving(), [THREE[1], THREE[2]]);
    (0..59).for_each(|_| bench.pass(Duration::from_secs(1)));
    assert!(bench.evicted.is_empty());
    assert!(bench.controller.deadline().unwrap() <= bench.now.instant + Duration::from_secs(1));
    (0..5).for_each(|_| bench.pass(Duration::from_secs(1)));
    assert_eq!(bench.evicted, [pair(THREE[0])]);
    bench.set_admin(THREE[0], Admin::Active).unwrap();
    assert_eq!(bench.serving(), THREE);
    bench.set_admin(THREE[0], Admin::Draining).unwrap();
    (0..90).for_each(|_| bench.pass(Duration::from_secs(1)));
    assert_eq!(bench.evicted.len(), 1, "the next drain has no deadline of its own");
}

#[test]
fn a_drain_goes_on_after_a_restart_and_ends_when_it_was_to_end() {
    let mut bench = Bench::all_up(&THREE);
    let (address, timeout) = (THREE[0].parse().unwrap(), Duration::from_secs(60));
    bench.operate(OperatorRequest::Drain { service: None, address, timeout }).unwrap();
    let adopted = Adopted { active: BTreeMap::from([(pair(THREE[0]), 1)]), ..Adopted::default() };
    let mut next = Bench::resume(config(&THREE), &bench.kept, &adopted);
    next.pass(Duration::from_secs(59));
    assert!(next.evicted.is_empty());
    next.pass(Duration::from_secs(1));
    assert_eq!(next.evicted, [pair(THREE[0])]);
}
