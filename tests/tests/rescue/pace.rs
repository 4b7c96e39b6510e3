//! A client that opens a connection every 10 ms, and what it met.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::clock::monotonic_us;
use lb_tests::lab::{Agent, Builder, ClientRun, Master, Refusal, VIP};
use lb_tests::pace::{Attempt, End, Progress, Report};
use lb_tests::slowness::stretched;
use lb_tests::wait::eventually;

use crate::common::SOON;
use crate::common::agent::{running, unhurried};
use crate::common::load::figure;

/// By the issue.
const EVERY: Duration = Duration::from_millis(10);
/// By the issue: of a connect that was rescued.
pub const SLOWEST: Duration = Duration::from_millis(800);
/// Longer than any connect that is not held up.
const HELD_UP: Duration = Duration::from_millis(100);
/// When the kernel sends a SYN again, on slow machines too: one that was rescued took longer than this.
const SENT_AGAIN: Duration = Duration::from_millis(200);

/// What becomes of a master.
#[derive(Clone, Copy)]
pub struct Fault {
    pub what: &'static str,
    pub begin: fn(&Master) -> anyhow::Result<()>,
    pub end: fn(&Master) -> anyhow::Result<()>,
}

pub const KILLED: Fault = Fault { what: "SIGKILL", begin: Master::kill, end: Master::start };
pub const CUT: Fault = Fault { what: "power loss", begin: Master::cut, end: Master::mend };
pub const STOPPED: Fault = Fault { what: "SIGSTOP", begin: Master::stop, end: Master::cont };
pub const UNREACHABLE: Fault = Fault {
    what: "REJECT by icmp port-unreachable",
    begin: |master| master.refuse(Refusal::PortUnreachable),
    end: Master::admit,
};
pub const RESET: Fault =
    Fault { what: "REJECT by tcp reset", begin: |master| master.refuse(Refusal::Reset), end: Master::admit };

/// Three masters, and an agent at default settings; whether it rescues.
pub fn lab(rescue: &str) -> Option<(Lab, Agent)> {
    with(Lab::builder().masters(3), rescue)
}

/// As [`lab`], with the masters of this builder.
pub fn with(builder: Builder, rescue: &str) -> Option<(Lab, Agent)> {
    let lab = builder.build_or_skip().unwrap()?;
    lab.agent_config(|config| {
        unhurried(config);
        config["rescue"] = rescue.into();
        config["services"][0]["policy"] = "round-robin".into();
    })
    .unwrap();
    let agent = running(&lab);
    Some((lab, agent))
}

/// What a client asks on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    /// `/whoami` over TLS.
    Whoami,
}

/// The client at work.
pub struct Client(ClientRun);

impl Client {
    /// One that has got somewhere.
    pub fn start(lab: &Lab, family: &str, asks: Asks) -> Self {
        let every = match asks {
            Asks::Nothing => stretched(EVERY),
            // Handshakes are computed, which on an emulated processor takes far longer than times are stretched by.
            Asks::Whoami => stretched(stretched(EVERY)),
        };
        let every = format!("{}ms", every.as_millis());
        let pace = ["pace", "--to", VIP, "--family", family, "--every", &every, "--held", "0"];
        let patience = ["--connect-timeout", "5s", "--timeout", "10s", "--duration", "2m"];
        let tcp_only: &[&str] = match asks {
            Asks::Nothing => &["--tcp-only"],
            Asks::Whoami => &[],
        };
        let client = Self(lab.node().spawn_client(&[&pace[..], &patience, tcp_only].concat()).unwrap());
        client.run_until(monotonic_us() + 300_000);
        client
    }

    /// Waits until it has gone on up to this moment.
    fn run_until(&self, moment_us: u64) {
        eventually(SOON, "the client goes on", || match self.progress() {
            Some(progress) if progress.at_us >= moment_us => Ok(()),
            progress => Err(format!("{progress:?} instead of {moment_us}")),
        })
        .unwrap();
    }

    /// Waits until it has gone on for so long.
    pub fn run_on(&self, duration: Duration) {
        self.run_until(monotonic_us() + u64::try_from(stretched(duration).as_micros()).unwrap());
    }

    fn progress(&self) -> Option<Progress> {
        self.0.stdout().lines().rev().find_map(|line| serde_json::from_str(line).ok())
    }

    /// Ends it; what it met from this moment on.
    pub fn stop(self, since_us: u64) -> Met {
        let report = self.0.stop().unwrap();
        let report: Report = serde_json::from_value(report).unwrap();
        let is_later = |attempt: &&Attempt| attempt.begin_us >= since_us;
        let attempts: Vec<Attempt> = report.attempts.iter().filter(is_later).cloned().collect();
        assert_eq!(report.omitted, 0, "every connect that was due began");
        Met { attempts, peers: report.peers.into_iter().collect() }
    }
}

/// What became of connects.
#[derive(Debug)]
pub struct Met {
    pub attempts: Vec<Attempt>,
    /// What getpeername() said, and how often.
    pub peers: Vec<(String, u64)>,
}

impl Met {
    /// Those that failed before they were connected, or were still not when the client ended, after too long a time.
    pub fn failed_connects(&self) -> Vec<&Attempt> {
        let too_long_us = u64::try_from(stretched(SLOWEST).as_micros()).unwrap();
        let waits = |attempt: &Attempt| attempt.end == End::Unfinished && attempt.took_us <= too_long_us;
        let failed = |attempt: &&Attempt| attempt.connect_us.is_none() && !waits(attempt);
        self.attempts.iter().filter(failed).collect()
    }

    /// Requests that failed though they were connected.
    pub fn failed_requests(&self) -> Vec<&Attempt> {
        let failed =
            |attempt: &&Attempt| attempt.connect_us.is_some() && matches!(attempt.end, End::Failed(_));
        self.attempts.iter().filter(failed).collect()
    }

    /// The longest connect() that succeeded.
    pub fn slowest(&self) -> Duration {
        let slowest = self.attempts.iter().filter_map(|attempt| attempt.connect_us).max();
        Duration::from_micros(slowest.unwrap_or(0))
    }

    /// How many connects succeeded that had been held up.
    pub fn held_up(&self) -> usize {
        let limit = u64::try_from(stretched(HELD_UP).min(SENT_AGAIN).as_micros()).unwrap();
        self.attempts.iter().filter(|attempt| attempt.connect_us > Some(limit)).count()
    }

    pub fn tell(&self, what: &str) {
        figure(&format!(
            "{what}: {} connects, {} failed, {} held up, slowest {} ms; {} requests failed",
            self.attempts.len(),
            self.failed_connects().len(),
            self.held_up(),
            self.slowest().as_millis(),
            self.failed_requests().len(),
        ));
    }
}
