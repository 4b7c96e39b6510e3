//! Traffic through the virtual address, and what became of it: `lab-client load` in the background, and its report.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::Lab;
use crate::lab::{ClientRun, Node, VIP};
use crate::wait::eventually;

/// Longest wait for watches to open and for single requests: far longer than either takes.
const SOON: Duration = Duration::from_secs(15);

/// Clients at work in the background.
pub struct Load(ClientRun);

/// What a client reports at its end.
#[derive(Debug)]
pub struct Report {
    /// All of it, as `lab-client` printed it.
    pub raw: Value,
    counts: Counts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    ok: u64,
    failed: u64,
    served: BTreeMap<String, u64>,
    errors: BTreeMap<String, Failures>,
    last_served_ms: BTreeMap<String, i64>,
    /// Only of a load.
    started_unix_ms: Option<i64>,
    /// Only of a load.
    held: Option<Held>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failures {
    last_ms: i64,
}

#[derive(Debug, Deserialize)]
struct Held {
    broken: u64,
    servers: BTreeMap<String, u64>,
    ends: Vec<End>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct End {
    server: Option<String>,
    at_ms: i64,
    error: String,
}

/// The clock of the reports: milliseconds since 1970.
///
/// # Errors
/// When the clock shows an earlier time.
pub fn unix_ms() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    i64::try_from(now.as_millis()).context("read the clock")
}

impl Load {
    /// Clients that open connections to the virtual address in a loop, and others that hold one; returns once those are
    /// open. `more` are further arguments for `lab-client load`.
    ///
    /// # Errors
    /// When the client cannot be started or its watches do not open.
    pub fn start(lab: &Lab, family: &str, clients: u32, held: u32, more: &[&str]) -> anyhow::Result<Self> {
        Self::start_on(lab, lab.node(), family, clients, held, more)
    }

    /// As [`Self::start`], on a pod, a virtual machine or a machine from elsewhere.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(
        lab: &Lab,
        node: &Node,
        family: &str,
        clients: u32,
        held: u32,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let (clients, held_text) = (clients.to_string(), held.to_string());
        let usual = ["load", "--to", VIP, "--family", family, "--clients", &clients, "--held", &held_text];
        // An end beyond every use; a rest that leaves the cores to what is measured.
        let pace = ["--duration", "10m", "--pause", "4ms", "--progress", "20ms"];
        let before = watches(lab);
        let load = Self(node.spawn_client(&[&usual[..], &pace, more].concat())?);
        eventually(SOON, "the watches open", || {
            let opened = watches(lab).saturating_sub(before);
            if opened >= u64::from(held) { Ok(()) } else { Err(format!("{opened} of {held}")) }
        })?;
        Ok(load)
    }

    /// Requests that have succeeded so far.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.progress("ok")
    }

    /// Milliseconds for which it has run so far.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.progress("atMs")
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end or its report cannot be read.
    pub fn stop(self) -> anyhow::Result<Report> {
        Report::new(self.0.stop()?)
    }

    /// 0 until the first line of progress.
    fn progress(&self, field: &str) -> u64 {
        let stdout = self.0.stdout();
        let last = stdout.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        last.and_then(|report| report[field].as_u64()).unwrap_or(0)
    }
}

/// `count` requests, one after another, each on a connection of its own.
///
/// # Errors
/// When the client cannot be run; requests that fail are in the report.
pub fn requests(node: &Node, to: &str, family: &str, count: u32) -> anyhow::Result<Report> {
    let count = count.to_string();
    Report::new(node.client(&["connect", "--to", to, "--family", family, "--count", &count])?)
}

/// How many watches the running masters were asked for.
fn watches(lab: &Lab) -> u64 {
    let asked = lab.masters().iter().filter_map(|master| master.stats().ok());
    asked.filter_map(|stats| stats["requests"]["/watch"].as_u64()).sum()
}

impl Report {
    fn new(raw: Value) -> anyhow::Result<Self> {
        let counts =
            serde_json::from_value(raw.clone()).with_context(|| format!("read the client's report {raw}"))?;
        Ok(Self { raw, counts })
    }

    /// Requests that were answered.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.counts.ok
    }

    /// Requests that were not.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.counts.failed
    }

    /// Requests that a master answered.
    #[must_use]
    pub fn served(&self, master: &str) -> u64 {
        self.counts.served.get(master).copied().unwrap_or(0)
    }

    /// Held connections that ended before the client did.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.counts.held.as_ref().map_or(0, |held| held.broken)
    }

    /// Connections that were held to a master, whether they ended or not.
    #[must_use]
    pub fn held(&self, master: &str) -> u64 {
        self.counts.held.as_ref().and_then(|held| held.servers.get(master)).copied().unwrap_or(0)
    }

    /// How held connections to `master` ended: `eof`, `ECONNRESET`, …
    #[must_use]
    pub fn endings(&self, master: &str) -> Vec<&str> {
        let all = self.counts.held.iter().flat_map(|held| &held.ends);
        all.filter(|end| end.server.as_deref() == Some(master)).map(|end| end.error.as_str()).collect()
    }

    /// When the last attempt that failed began, in milliseconds after `moment`.
    #[must_use]
    pub fn last_failure(&self, moment: i64) -> Option<i64> {
        let last = self.counts.errors.values().map(|failures| failures.last_ms).max()?;
        Some(self.after(moment, last))
    }

    /// When the last request that a master answered began, in milliseconds after `moment`.
    #[must_use]
    pub fn last_served(&self, master: &str, moment: i64) -> Option<i64> {
        self.counts.last_served_ms.get(master).map(|at| self.after(moment, *at))
    }

    /// When each held connection to `master` that ended did so, in milliseconds after `moment`; rising.
    #[must_use]
    pub fn ends(&self, master: &str, moment: i64) -> Vec<i64> {
        let all = self.counts.held.iter().flat_map(|held| &held.ends);
        let of_master = all.filter(|end| end.server.as_deref() == Some(master));
        let mut ends: Vec<i64> = of_master.map(|end| self.after(moment, end.at_ms)).collect();
        ends.sort_unstable();
        ends
    }

    fn after(&self, moment: i64, at: i64) -> i64 {
        self.counts.started_unix_ms.unwrap_or(0) + at - moment
    }
}
