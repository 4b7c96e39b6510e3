//! Backends that owe an answer.

use super::*;
use crate::probe::{HostSign, Silence};

fn silent(bench: &mut Bench, address: &str, since: Instant) {
    let silence = Silence { since, host: HostSign::Acknowledged };
    bench.event(Event::Silent { key: key(address), silence });
}

#[test]
fn a_silent_backend_is_left_and_its_new_connections_are_freed_once() {
    let mut bench = Bench::new(&THREE);
    THREE.iter().for_each(|address| bench.answer(address, &READY, 1));
    let since = bench.now.instant;
    for _ in 0..12 {
        bench.pass(Duration::from_millis(50));
        silent(&mut bench, THREE[0], since);
    }
    assert_eq!(bench.serving(), [THREE[1], THREE[2]]);
    assert_eq!(bench.freed, [(pair(THREE[0]), since)]);
    assert!(bench.evicted.is_empty(), "what is established stays");
}

#[test]
fn when_all_are_silent_all_go_on_serving_and_nothing_is_ended() {
    let mut bench = Bench::new(&THREE);
    THREE.iter().for_each(|address| bench.answer(address, &READY, 1));
    let since = bench.now.instant;
    for _ in 0..12 {
        bench.pass(Duration::from_millis(50));
        THREE.iter().for_each(|address| silent(&mut bench, address, since));
    }
    assert_eq!(bench.serving(), THREE);
    assert!(bench.freed.is_empty() && bench.evicted.is_empty());
}
