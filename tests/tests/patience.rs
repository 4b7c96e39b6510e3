//! Masters that pause: what is established to them stays.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::thread;
use std::time::Duration;

use common::agent::running;
use common::lab;
use common::load::{Load, figure};
use common::quiet::alone;
use lb_tests::lab::Master;

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
