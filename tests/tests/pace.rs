//! The client at a fixed pace.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::{SOON, lab};
use lb_tests::clock::monotonic_us;
use lb_tests::pace::{End, Progress, Report};
use lb_tests::wait::eventually;

#[test]
fn a_pace_goes_on_while_a_master_is_silent_and_all_that_happened_is_reported() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let pace =
        ["pace", "--to", &master.address().to_string(), "--every", "50ms", "--held", "2", "--slow", "300ms"];
    let client = lab.node().spawn_client(&pace).unwrap();
    let progress = |what: &str, holds: fn(&Progress) -> bool| {
        eventually(SOON, what, || {
            let stdout = client.stdout();
            let last = stdout.lines().rev().find_map(|line| serde_json::from_str::<Progress>(line).ok());
            if last.as_ref().is_some_and(holds) { Ok(()) } else { Err(format!("{last:?}")) }
        })
        .unwrap();
    };
    progress("all is well", |progress| {
        progress.watching.get("m1") == Some(&2) && progress.last_served_us.contains_key("m1")
    });
    master.stop().unwrap();
    let silent = monotonic_us();
    progress("attempts are slow", |progress| progress.last_trouble_us.is_some());
    master.kill().unwrap();
    progress("the watches have ended", |progress| progress.ended == 2);

    let report: Report = serde_json::from_value(client.stop().unwrap()).unwrap();
    let begun = report.attempts.iter().filter(|attempt| attempt.begin_us > silent).count();
    assert!(begun > 3, "{begun} attempts in a silence of 300 ms, {report:?}");
    assert!(report.attempts.iter().any(|attempt| attempt.end == End::Served("m1".into())));
    assert!(report.attempts.iter().any(|attempt| matches!(attempt.end, End::Failed(_))));
    assert!(report.watches.iter().all(|watch| watch.ended.is_some()), "{report:?}");
    assert_eq!(report.omitted, 0);
}
