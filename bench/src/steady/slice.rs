//! One slice: a contender, a client, and what both used.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use lb_tests::Lab;
use lb_tests::lab::{HOSTNAME, Master, Node};
use lb_tests::pki::Signer;

use super::{Figure, Figures, Plan};
use crate::client::{Observed, Workload};
use crate::contender::{Contender, Running};
use crate::usage;

/// What a client may take beyond its time: it ends with what it is at.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Slice<'a> {
    pub(super) lab: &'a Lab,
    pub(super) workload: Workload,
    pub(super) contender: Contender,
    pub(super) plan: &'a Plan,
}

impl Slice<'_> {
    pub(super) fn measure(&self) -> anyhow::Result<Figures> {
        let running = self.contender.start(self.lab, self.workload.scheme())?;
        thread::sleep(self.plan.settle);
        let servers = [
            self.lab.masters().iter().filter_map(Master::pid).collect(),
            running.pids(),
            usage::softirq_threads()?,
        ]
        .concat();
        let before = usage::cpu_time(&servers);
        let client = Client { workload: self.workload, slice: self.plan.slice, warm_up: self.plan.warm_up };
        let observed = client.run(self.lab, self.plan.whence.node(self.lab), &running)?;
        let servers = usage::cpu_time(&servers).saturating_sub(before);
        self.figures(&observed, servers)
    }

    fn figures(&self, observed: &Observed, servers: Duration) -> anyhow::Result<Figures> {
        ensure!(observed.operations > 0, "nothing was finished in the slice");
        let cpu = servers + Duration::from_nanos(observed.cpu_ns);
        let micros = |nanos: Option<u32>| nanos.map(|nanos| f64::from(nanos) / 1e3);
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let figure = |figure| match figure {
            Figure::P50Micros => micros(observed.p50_ns),
            Figure::P99Micros => micros(observed.p99_ns),
            Figure::PerSecond => Some(observed.operations as f64 / observed.seconds),
            Figure::GibPerSecond => Some(gib(observed.bytes) / observed.seconds),
            Figure::CpuMicros => Some(cpu.as_secs_f64() * 1e6 / observed.all_operations as f64),
            Figure::CpuSecondsPerGib => Some(cpu.as_secs_f64() / gib(observed.all_bytes)),
        };
        Ok(self.workload.figures().iter().filter_map(|name| Some((*name, figure(*name)?))).collect())
    }
}

/// A client at work through a contender.
pub(crate) struct Client {
    pub(crate) workload: Workload,
    pub(crate) slice: Duration,
    pub(crate) warm_up: Duration,
}

impl Client {
    /// Runs it there to its end.
    pub(crate) fn run(&self, lab: &Lab, node: &Node, running: &Running) -> anyhow::Result<Observed> {
        let program = std::env::current_exe().context("find the running executable")?;
        let mut client = running.spawn_client(node, &program, &self.arguments(lab, running))?;
        let deadline = self.warm_up + self.slice + PATIENCE;
        let stdout = client.wait_deadline(deadline)?.success().context("run the client")?;
        serde_json::from_str(&stdout).with_context(|| format!("read what the client saw: {stdout:?}"))
    }

    fn arguments(&self, lab: &Lab, running: &Running) -> Vec<String> {
        use clap::ValueEnum as _;
        let workload = self.workload.to_possible_value();
        let mut words = vec!["client".to_owned()];
        words.extend(workload.map(|value| value.get_name().to_owned()));
        words.extend(running.targets().iter().map(|target| format!("--target={target}")));
        words.push(format!("--seconds={}", self.slice.as_secs_f64()));
        words.push(format!("--warm-up={}", self.warm_up.as_secs_f64()));
        words.push(format!("--ca={}", lab.pki().ca(Signer::Lab).display()));
        words.push(format!("--server-name={HOSTNAME}"));
        words
    }
}
