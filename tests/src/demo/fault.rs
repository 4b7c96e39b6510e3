//! One disaster, under load from beginning to end.

use std::time::Duration;

use super::stage::Stage;
use super::table::{Act, Claim, Hit};
use crate::lab::Master;
use crate::traffic::{Load, Report, unix_ms};

/// Clients that open a connection, ask once, close it and begin anew after 4 ms.
const CLIENTS: u32 = 4;
/// Connections that stay open and receive a watch event every 100 ms: so many that no master is without.
const WATCHES: u32 = 24;
/// How long the load goes on once all is well again, to see whether it is.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What happens to a master.
pub(super) struct Fault {
    /// For the table.
    pub(super) name: &'static str,
    /// What is done, for the story.
    pub(super) done: &'static str,
    pub(super) begin: fn(&Master) -> anyhow::Result<()>,
    /// What ends it, for the story.
    pub(super) undone: &'static str,
    pub(super) end: fn(&Master) -> anyhow::Result<()>,
    /// How soon no connection may be left with that master.
    pub(super) bound: Duration,
}

/// Traffic while nothing is wrong.
pub(super) fn calm(stage: &Stage<'_>) -> anyhow::Result<Act> {
    let load = Load::start(stage.lab, "v4", CLIENTS, WATCHES, &[])?;
    stage.go_on(Duration::from_secs(3))?;
    let report = load.stop()?;
    let all_serve = stage.lab.masters().iter().all(|master| report.served(master.name()) > 0);
    Ok(Act { name: "none", claim: Claim::Untouched { all_serve }, watches: WATCHES, hit: None, report })
}

/// The fault, its discovery, its end and the return of the master.
pub(super) fn strike(stage: &Stage<'_>, master: &Master, fault: &Fault) -> anyhow::Result<Act> {
    let load = Load::start(stage.lab, "v4", CLIENTS, WATCHES, &[])?;
    stage.go_on(Duration::from_secs(1))?;
    let moment = unix_ms()?;
    stage.voice.fault(&format!("{} {}", master.name(), fault.done));
    (fault.begin)(master)?;
    stage.until_health(master, "dead")?;
    let verdict = unix_ms()? - moment;
    stage.voice.say(&format!("{} was found dead {verdict} ms after the fault", master.name()));
    stage.show(&["backends"])?;
    stage.go_on(AFTERMATH)?;

    let mended = unix_ms()?;
    stage.voice.say(&format!("{} {}", master.name(), fault.undone));
    (fault.end)(master)?;
    stage.until_health(master, "up")?;
    let back_ms = unix_ms()? - mended;
    stage.voice.say(&format!("{} serves again {back_ms} ms later", master.name()));
    stage.go_on(AFTERMATH)?;
    let report = load.stop()?;
    tell(stage, master, moment, &report);
    let claim = Claim::Left { bound: fault.bound };
    let hit = Hit { moment, victim: master.name().to_owned(), mended, back_ms };
    Ok(Act { name: fault.name, claim, watches: WATCHES, hit: Some(hit), report })
}

fn tell(stage: &Stage<'_>, master: &Master, moment: i64, report: &Report) {
    let ends = report.ends(master.name(), moment);
    let last = report.last_failure(moment);
    let failed = match last {
        None => "none failed".to_owned(),
        Some(last) => format!("{} failed, the last one begun {last} ms after the fault", report.failed()),
    };
    stage.voice.say(&format!(
        "{} requests, {failed}; {} of {WATCHES} watches were on {} and ended within {} ms, {} went on",
        report.ok() + report.failed(),
        ends.len(),
        master.name(),
        ends.last().copied().unwrap_or(0),
        u64::from(WATCHES) - report.broken(),
    ));
}

/// The agent dies, stays away and comes back.
pub(super) fn lose_the_agent(stage: &mut Stage<'_>) -> anyhow::Result<Act> {
    let load = Load::start(stage.lab, "v4", CLIENTS, WATCHES, &[])?;
    stage.go_on(Duration::from_secs(1))?;
    stage.voice.fault("the agent is killed (SIGKILL); the kernel goes on alone");
    stage.kill_agent()?;
    stage.go_on(Duration::from_secs(5))?;
    stage.voice.say("a new agent starts and takes over what it finds in the kernel");
    stage.start_agent()?;
    stage.until_all_up()?;
    stage.go_on(AFTERMATH)?;
    let report = load.stop()?;
    stage.voice.say(&format!(
        "{} requests, {} failed; {} of {WATCHES} watches ended",
        report.ok() + report.failed(),
        report.failed(),
        report.broken(),
    ));
    let claim = Claim::Untouched { all_serve: true };
    Ok(Act { name: "agent killed, 5 s without", claim, watches: WATCHES, hit: None, report })
}
