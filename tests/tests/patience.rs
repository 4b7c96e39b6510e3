//! Masters that pause, or are behind a bad network: what is established to them stays.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::agent::{running, status};
use common::lab;
use common::load::{Load, figure};
use common::quiet::alone;
use lb_tests::command::feed;
use lb_tests::lab::Master;

/// So long here; `LBCTL_TEST_SOAK` says otherwise, in seconds.
const SOAK: Duration = Duration::from_secs(20);
/// So many watches, so that chance leaves none of three masters without one.
const HELD: u32 = 24;
/// One master's pauses, 2.6 s apart.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(400),
    Duration::from_millis(400),
    SECONDS_2,
    Duration::from_millis(400),
    SECONDS_2,
];
const SECONDS_2: Duration = Duration::from_secs(2);

/// The clients' own deadlines: longer than any pause and than a SYN that is lost a few times.
const DEADLINES: [&str; 4] = ["--connect-timeout", "10s", "--timeout", "10s"];

/// In each direction a fifth of a master's packets is dropped.
fn lose_packets(master: &Master) {
    let rules = "table inet loss {
        chain in { type filter hook input priority 0; tcp dport 6443 numgen random mod 100 < 20 drop; }
        chain out { type filter hook output priority 0; tcp sport 6443 numgen random mod 100 < 20 drop; }
    }";
    let enter = format!("--net={}", master.host().netns().path().display());
    feed(&["nsenter", &enter, "nft", "-f", "-"], rules).unwrap();
}

fn pause(master: &Master, length: Duration) {
    master.stop().unwrap();
    thread::sleep(length);
    master.cont().unwrap();
}

#[test]
fn pauses_of_up_to_two_seconds_end_no_connection_however_often_they_come() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let held = Load::start(&lab, "v4", 0, HELD);
    for length in PAUSES {
        pause(lab.master(0), length);
        thread::sleep(Duration::from_millis(2600));
    }
    let held = held.stop();
    figure(&format!("{} of {HELD} watches ended", held.broken()));
    assert_eq!(held.broken(), 0, "{held:?}\n{}", agent.log());
}

#[test]
fn a_fifth_of_packets_lost_and_pauses_of_two_seconds_end_no_connection() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let [lossy, pausing] = [0, 1].map(|index| lab.master(index));
    let held = Load::start(&lab, "v4", 0, HELD);
    let load = Load::with(&lab, "mapped", 2, 0, &DEADLINES);
    lose_packets(lossy);
    let soak = std::env::var("LBCTL_TEST_SOAK").ok().and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + soak.map_or(SOAK, Duration::from_secs);
    for round in 0.. {
        // 2 s once in twenty rounds, which is once a minute; else 400 ms.
        pause(pausing, Duration::from_millis(if round % 20 == 5 { 2000 } else { 400 }));
        if Instant::now() >= end {
            break;
        }
        thread::sleep(Duration::from_millis(2600));
    }
    let transitions = status(&lab)["transitions"].as_array().map_or(0, Vec::len);
    let (load, held) = (load.stop(), held.stop());
    figure(&format!(
        "{} of {HELD} watches ended; {} requests, {} failed: {}; {transitions} transitions of late",
        held.broken(),
        load.ok() + load.failed(),
        load.failed(),
        load.raw["errors"],
    ));
    assert_eq!(held.broken(), 0, "{held:?}\n{}", agent.log());
}
