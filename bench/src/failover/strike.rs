//! One fault of one master under one balancer, from quiet to quiet.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lb_tests::clock::monotonic_us;
use lb_tests::lab::HOSTNAME;
use lb_tests::pace::{Progress, Report};
use lb_tests::pki::Signer;
use lb_tests::process::Proc;
use lb_tests::wait::eventually;
use lb_tests::{Lab, binaries, interrupt};
use rustix::process::Signal;

use super::fault::Fault;
use super::figures::{Figures, Moments, QUIET_MS, SLOW_MS};
use crate::contender::{Contender, Running, Scheme};

/// A new connection begins every so many milliseconds.
pub(super) const PACE_MS: u64 = 10;
/// Connections that receive a line every 100 ms: so many that no master is without.
pub(super) const WATCHES: u32 = 24;
/// Longer than any balancer's own patience, as the timeouts of real clients are.
const CONNECT_TIMEOUT: &str = "5s";
const ATTEMPT_TIMEOUT: &str = "10s";
/// Longest run of a client.
const CLIENT_TIME: &str = "3m";
/// Until every master is used and nothing is slow any more: a balancer just started probes its backends first.
const SETTLE: Duration = Duration::from_secs(20);
/// So many clients are started until one finds that. The fewest connections go first with nginx, and each of its workers
/// counts its own: as the watches happen to be spread, a master may get no new connection at all.
const CLIENTS: u32 = 3;
/// So long all must have been well before a fault.
const CALM: Duration = Duration::from_millis(1_500);
/// Until the master that failed is used again.
const RETURN: Duration = Duration::from_secs(30);
/// How long the client goes on after that.
const AFTERMATH: Duration = Duration::from_secs(2);
/// A client ends [`SLOW_MS`] after it is asked to, and then writes some hundred KiB.
const CLIENT_END: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Starts `contender`, has `fault` happen to master number `victim` and ends it again.
pub(super) fn strike(
    lab: &Lab,
    contender: Contender,
    fault: Fault,
    victim: usize,
) -> anyhow::Result<Figures> {
    let victim = lab.masters().get(victim).context("choose the master to fail")?;
    let running = contender.start(lab, Scheme::Tls)?;
    let mut client = Client::settled(lab, &running)?;

    let fault_us = monotonic_us();
    fault.begin(victim)?;
    client.watch_out(fault, victim.name(), fault_us)?;
    let mended_us = monotonic_us();
    fault.end(victim)?;
    client.wait_for_return(victim.name(), mended_us)?;
    let report = client.stop()?;
    Ok(Figures::new(&report, Moments { fault_us, mended_us }, victim.name()))
}

/// `lab-client pace` at work.
struct Client(Proc);

impl Client {
    /// One that uses every master and meets no trouble.
    fn settled(lab: &Lab, running: &Running) -> anyhow::Result<Self> {
        for _ in 1..CLIENTS {
            let mut client = Self::start(lab, running)?;
            if client.settle(lab).is_ok() {
                return Ok(client);
            }
            client.stop()?;
            ensure!(!interrupt::happened(), "interrupted");
        }
        let mut client = Self::start(lab, running)?;
        client.settle(lab)?;
        Ok(client)
    }

    fn start(lab: &Lab, running: &Running) -> anyhow::Result<Self> {
        let target = running.targets().first().context("find where clients connect to")?.to_string();
        let (ca, held) = (lab.pki().ca(Signer::Lab), WATCHES.to_string());
        let (every, slow) = (format!("{PACE_MS}ms"), format!("{SLOW_MS}ms"));
        let tls = ["--tls", "--ca", &ca.to_string_lossy(), "--server-name", HOSTNAME].map(str::to_owned);
        let pace = [
            "pace",
            "--to",
            &target,
            "--every",
            &every,
            "--slow",
            &slow,
            "--held",
            &held,
            "--duration",
            CLIENT_TIME,
            "--connect-timeout",
            CONNECT_TIMEOUT,
            "--timeout",
            ATTEMPT_TIMEOUT,
            "--progress",
            "100ms",
        ];
        let words: Vec<String> = tls.into_iter().chain(pace.map(str::to_owned)).collect();
        running.spawn_client(lab.node(), &binaries::client()?, &words).map(Self)
    }

    /// The last line of progress, if there is one yet.
    fn progress(&self) -> Option<Progress> {
        self.0.stdout().lines().rev().find_map(|line| serde_json::from_str(line).ok())
    }

    /// Fails when the client has ended: then nothing would be seen.
    fn check(&mut self) -> anyhow::Result<()> {
        ensure!(!interrupt::happened(), "interrupted");
        ensure!(self.0.is_running()?, "the client has ended: {}", self.0.stderr().trim());
        Ok(())
    }

    /// Waits until every watch is open, every master is used and nothing has gone wrong for [`CALM`].
    fn settle(&mut self, lab: &Lab) -> anyhow::Result<()> {
        let began_us = monotonic_us();
        eventually(SETTLE, "the clients are well", || {
            let progress = self.progress().ok_or_else(|| self.0.stderr())?;
            let watching: u32 = progress.watching.values().sum();
            let quiet_us = progress.at_us.saturating_sub(progress.last_trouble_us.unwrap_or(began_us));
            let well = watching == WATCHES
                && progress.last_served_us.len() == lab.masters().len()
                && u128::from(quiet_us) >= CALM.as_micros();
            if well { Ok(()) } else { Err(format!("{progress:?}")) }
        })?;
        self.check()
    }

    /// Waits until all is well again, or the fault's time is over.
    fn watch_out(&mut self, fault: Fault, victim: &str, fault_us: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < fault.most() {
            std::thread::sleep(POLL);
            self.check()?;
            let over = self.progress().is_some_and(|progress| is_over(&progress, fault, victim, fault_us));
            if over && began.elapsed() >= fault.least() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the victim is used again, as far as it is, and a little longer.
    fn wait_for_return(&mut self, victim: &str, mended_us: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        let is_back =
            |progress: Progress| progress.last_served_us.get(victim).is_some_and(|at| *at > mended_us);
        while began.elapsed() < RETURN && !self.progress().is_some_and(is_back) {
            std::thread::sleep(POLL);
            self.check()?;
        }
        std::thread::sleep(AFTERMATH);
        self.check()
    }

    fn stop(mut self) -> anyhow::Result<Report> {
        self.0.signal(Signal::TERM)?;
        let stdout = self.0.wait_deadline(CLIENT_END)?.success().context("run the client")?;
        let line = stdout.lines().last().context("read the client's report: it printed nothing")?;
        serde_json::from_str(line).context("read the client's report")
    }
}

/// Whether nothing has gone wrong for [`QUIET_MS`], and what the fault has to end has ended.
fn is_over(progress: &Progress, fault: Fault, victim: &str, fault_us: u64) -> bool {
    let is_past = |at_us: u64| progress.at_us.saturating_sub(at_us.max(fault_us)) >= QUIET_MS * 1_000;
    let watching = progress.watching.get(victim).copied().unwrap_or(0);
    let was_left = progress.last_served_us.get(victim).is_none_or(|at_us| is_past(*at_us));
    is_past(progress.last_trouble_us.unwrap_or(fault_us))
        && was_left
        && (watching == 0 || !fault.ends_watches())
}
