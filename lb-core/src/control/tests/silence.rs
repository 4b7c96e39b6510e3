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
fn when_not_a_packet_comes_from_anybody_nobody_is_gone_before_dead_after() {
    let mut bench = Bench::all_up(&THREE);
    let since = bench.now.instant;
    let nothing = Silence { since, host: HostSign::Nothing { packets: 20 } };
    for _ in 0..50 {
        bench.pass(Duration::from_millis(50));
        THREE.iter().for_each(|address| bench.event(Event::Silent { key: key(address), silence: nothing }));
    }
    assert_eq!(bench.serving(), THREE);
    assert!(bench.evicted.is_empty(), "2.5 s: this node's own network may be back in a moment");
    bench.answer(THREE[1], &READY, 1);
    bench.event(Event::Silent { key: key(THREE[0]), silence: nothing });
    assert_eq!(bench.evicted, [pair(THREE[0])], "another one answers, and it still does not");
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
