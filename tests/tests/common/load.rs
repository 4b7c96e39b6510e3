//! Traffic through the virtual address, and what became of it.

use std::io::Write;
use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Master, Node};
use lb_tests::slowness::{stretched, thinned};
use lb_tests::traffic;
pub use lb_tests::traffic::Report;
use lb_tests::wait::eventually;

use super::SOON;

/// Writes a measured figure to stderr, past the test harness, which would show it only when the test fails.
pub fn figure(text: &str) {
    let test = std::thread::current().name().unwrap_or("a test").replace('_', " ");
    // A figure that cannot be written is missed by the reader, not by the test.
    let _ = writeln!(std::io::stderr(), "figure: {test}: {text}");
}

/// The clock of the load's reports.
pub fn unix_ms() -> i64 {
    traffic::unix_ms().unwrap()
}

/// `count` requests, one after another, each on a connection of its own.
pub fn requests(node: &Node, to: &str, family: &str, count: u32) -> Report {
    traffic::requests(node, to, family, count).unwrap()
}

/// One connect, and how it ended: `connected` or an error, and after how many milliseconds.
pub fn syn(node: &Node, to: &str) -> (String, u64) {
    let report = node.client(&["syn", "--to", to, "--connect-timeout", "5s"]).unwrap();
    (report["result"].as_str().unwrap().to_owned(), report["ms"].as_u64().unwrap())
}

/// No request failed and no held connection ended.
pub fn assert_untouched(report: &Report) {
    assert_eq!((report.failed(), report.broken()), (0, 0), "{report:?}");
    assert!(report.ok() > 0, "nothing was asked: {report:?}");
}

/// A bar in the unit of the reports, [`stretched`] on a slow machine.
pub fn ms(duration: Duration) -> i64 {
    i64::try_from(stretched(duration).as_millis()).unwrap()
}

/// How soon after a fault a master is left.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// No attempt that begins later fails.
    pub steered: Duration,
    /// No connection hangs on it any longer.
    pub ended: Duration,
}

impl Bounds {
    /// Both at once.
    pub fn one(bound: Duration) -> Self {
        Self { steered: bound, ended: bound }
    }
}

/// Asserts that a master was left in time after `moment`, and that no connection to another one ended.
pub fn assert_left(victim: &Master, what: &str, moment: i64, bounds: Bounds, load: &Report, held: &Report) {
    let (steered, ended) = (ms(bounds.steered), ms(bounds.ended));
    let last = load.last_failure(moment);
    let ends = held.ends(victim.name(), moment);
    figure(&format!(
        "{what}: {} requests, {} failed, the last one begun {last:?} ms after the fault; {} held connections \
         gone after {:?}..{:?} ms (bounds {steered} and {ended} ms)",
        load.ok() + load.failed(),
        load.failed(),
        ends.len(),
        ends.first(),
        ends.last(),
    ));
    assert!(last.is_none_or(|last| last <= steered), "{what}: a failure at {last:?} ms: {load:?}");
    assert!(!ends.is_empty(), "{what}: no held connection ended: {held:?}");
    assert!(ends.iter().all(|end| *end <= ended), "{what}: held connections ended at {ends:?} ms");
    assert_eq!(held.broken(), ends.len() as u64, "{what}: connections to others ended too: {held:?}");
}

/// A load in the background.
pub struct Load(traffic::Load);

impl Load {
    /// Clients that open connections to the virtual address in a loop, and others that hold one.
    pub fn start(lab: &Lab, family: &str, clients: u32, held: u32) -> Self {
        Self::with(lab, family, clients, held, &[])
    }

    /// As [`Self::start`], with more arguments for `lab-client load`. The clients are [`thinned`] on a slow machine, not
    /// what is held.
    pub fn with(lab: &Lab, family: &str, clients: u32, held: u32, more: &[&str]) -> Self {
        let clients = if clients == 0 { 0 } else { thinned(clients) };
        Self(traffic::Load::start(lab, family, clients, held, more).unwrap())
    }

    /// As [`Self::start`], on a pod, a virtual machine or a machine from elsewhere.
    pub fn on(lab: &Lab, node: &Node, family: &str, clients: u32, held: u32) -> Self {
        let clients = if clients == 0 { 0 } else { thinned(clients) };
        Self(traffic::Load::start_on(lab, node, family, clients, held, &[]).unwrap())
    }

    /// Waits until so many more requests have succeeded, or fewer on a slow machine.
    pub fn more(&self, count: u32) {
        let count = thinned(count);
        let wanted = self.0.ok() + u64::from(count);
        eventually(SOON, &format!("{count} more requests succeed"), || {
            let ok = self.0.ok();
            if ok >= wanted { Ok(()) } else { Err(format!("{ok} of {wanted}")) }
        })
        .unwrap();
    }

    /// Waits until it has run for so much longer.
    pub fn run_on(&self, duration: Duration) {
        let wanted = self.0.at_ms() + u64::try_from(duration.as_millis()).unwrap();
        eventually(duration + SOON, &format!("the load runs for {duration:?}"), || {
            let at = self.0.at_ms();
            if at >= wanted { Ok(()) } else { Err(format!("at {at} of {wanted} ms")) }
        })
        .unwrap();
    }

    /// Ends it.
    pub fn stop(self) -> Report {
        self.0.stop().unwrap()
    }
}
