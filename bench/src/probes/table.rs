//! The report's section.

use std::fmt::Write as _;

use super::{Answers, Fleet, Probes, Single, Watched};
use crate::report::mebibytes;

/// An agent's questions to one master in a second, at default settings: 3 PINGs and a GET in two seconds.
const PINGS: f64 = 1.5;
const READYZ: f64 = 0.5;
/// The client needs about as much of a core as there is: then it is what was measured.
const SATURATED_PERCENT: f64 = 95.0;

pub(super) fn render(probes: &Probes) -> String {
    let mut text = "## What probes cost\n\nThe masters' time is that of the stand-in's process. What the kernel does for packets that arrive is done on \
                    the time of whoever sent them, here on one machine as elsewhere on that of its interrupts.\n\n"
        .to_owned();
    if let Some(watched) = &probes.watched {
        text += &of_one_agent(watched);
    }
    if let Some(single) = &probes.single {
        text += &of_one_question(single);
    }
    if let Some(fleet) = &probes.fleet {
        text += &of_a_fleet(fleet);
    }
    if !probes.missing.is_empty() {
        text += "Not measured:\n\n";
        for what in &probes.missing {
            // Writing to a string does not fail.
            let _ = writeln!(text, "- {what}");
        }
        text += "\n";
    }
    text
}

fn of_one_agent(watched: &Watched) -> String {
    let Watched { seconds, bare_percent, agent_percent, .. } = watched;
    let list = |all: &[f64]| all.iter().map(|percent| format!("{percent:.4}")).collect::<Vec<_>>().join(", ");
    format!(
        "### One node\n\nThree masters for {seconds:.0} s alone, then for {seconds:.0} s with one agent at default settings.\n\n\
         | | |\n|---|---:|\n\
         | each master alone, % of a core | {} |\n\
         | each master with one agent, % of a core | {} |\n\
         | what an agent adds to a master, % of a core | {:.4} |\n\
         | a bare thread that answers as many messages, % of a core | {bare_percent:.4} |\n\
         | the agent with three backends, % of a core | {agent_percent:.3} |\n\
         | the agent, resident | {:.1} MiB |\n\n",
        list(&watched.masters_alone_percent),
        list(&watched.masters_percent),
        watched.added_percent(),
        mebibytes(watched.agent_resident),
    )
}

fn of_one_question(single: &Single) -> String {
    let (ping, readyz) = (single.ping, single.readyz);
    // Microseconds in a second are millionths of a core.
    let percent = (PINGS * ping.server_cpu_us + READYZ * readyz.server_cpu_us) / 1e4;
    format!(
        "### One question\n\n{} of each, one after another, PINGs on one connection and GETs on another.\n\n\
         | | master's CPU | round trip |\n|---|---:|---:|\n\
         | heartbeat (HTTP/2 PING) | {:.1} µs | {:.1} µs |\n\
         | probe (GET /readyz) | {:.1} µs | {:.1} µs |\n\n\
         At an agent's {PINGS} PINGs and {READYZ} GETs a second that makes {percent:.4} % of a core.\n\n",
        single.count, ping.server_cpu_us, ping.round_trip_us, readyz.server_cpu_us, readyz.round_trip_us,
    )
}

fn of_a_fleet(fleet: &Fleet) -> String {
    let Fleet { agents, concurrency, storm, turned_away, steady, answers, .. } = fleet;
    let Answers { pings, readyz, late, lost, p50_us, p99_us, worst_us } = answers;
    let (ms, rate) = (|us: &u32| f64::from(*us) / 1e3, |count: &u64| *count as f64 / steady.seconds);
    let each = |seconds: f64| 1e6 * seconds / f64::from((*agents).max(1));
    let error = fleet.first_error.as_ref().map_or_else(String::new, |error| format!(" (`{error}`)"));
    let grown = mebibytes(fleet.resident) - mebibytes(fleet.empty_resident);
    let mut text = format!(
        "### {agents} nodes at one master\n\nEach two TLS connections, a PING by HTTP/2 on one every 500 ms and on the other a GET /readyz every 2 s, \
         give or take a tenth, for {:.0} s. That is a third more PINGs than agents send, for whom a probe's answer stands for \
         one.\n\n\
         | | |\n|---|---:|\n\
         | all connect at once, {concurrency} at a time | {:.2} s |\n\
         | turned away | {turned_away}{error} |\n\
         | a handshake, master's CPU | {:.0} µs |\n\
         | PINGs, GETs answered a second | {:.0}, {:.0} |\n\
         | master's CPU, % of a core | {:.1} |\n\
         | of that for each node, % of a core | {:.4} |\n\
         | client's CPU, % of a core | {:.1} |\n\
         | answers: median, 99th percentile, slowest | {:.2} ms, {:.1} ms, {:.1} ms |\n\
         | answers later than 300 ms | {late} |\n\
         | lost | {lost} |\n\
         | master resident, before and with them | {:.1} MiB, {:.1} MiB ({:.1} KiB each) |\n\n",
        steady.seconds,
        storm.seconds,
        // Of two connections.
        each(storm.server_cpu_seconds) / 2.0,
        rate(pings),
        rate(readyz),
        steady.server_percent(),
        steady.server_percent() / f64::from((*agents).max(1)),
        steady.client_percent(),
        ms(p50_us),
        ms(p99_us),
        ms(worst_us),
        mebibytes(fleet.empty_resident),
        mebibytes(fleet.resident),
        1024.0 * grown / f64::from((*agents).max(1)),
    );
    if steady.client_percent() > SATURATED_PERCENT {
        text += "The client had no time left: the master's figure belongs to the rate that was reached.\n\n";
    }
    if storm.client_percent() > SATURATED_PERCENT {
        text += "The handshakes were as fast as the client, not as the master.\n\n";
    }
    text
}
