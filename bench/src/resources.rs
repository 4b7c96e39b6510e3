//! What each contender's processes use, idle and under load.

use std::time::{Duration, Instant};

use lb_tests::Lab;
use serde::{Deserialize, Serialize};

use crate::client::Workload;
use crate::contender::{Contender, Running, Scheme};
use crate::report::{markdown, mebibytes, number};
use crate::steady::Client;
use crate::usage;

/// Those that have processes.
const CONTENDERS: [Contender; 4] =
    [Contender::Socket, Contender::HaproxyKubeadm, Contender::HaproxyTuned, Contender::Nginx];
/// What happens at the start is not part of being idle.
const SETTLE: Duration = Duration::from_secs(3);
/// Work before the measured time under load.
const WARM_UP: Duration = Duration::from_secs(1);

/// The figures of all contenders with processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// How long each was idle, in seconds.
    pub idle_seconds: f64,
    /// How long each was under load, in seconds.
    pub load_seconds: f64,
    /// One for each contender.
    pub rows: Vec<Row>,
    /// Contenders that could not be measured, and why.
    pub unmeasured: Vec<(Contender, String)>,
}

/// One contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Which.
    pub contender: Contender,
    /// How many processes it has.
    pub processes: usize,
    /// While no client is there and the masters speak TLS.
    pub idle: Use,
    /// While 8 connections carry requests, without TLS.
    pub load: Use,
    /// Requests in a second under that load.
    pub requests_per_second: f64,
}

/// What processes use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Resident memory in bytes; pages that processes share are counted for each.
    pub resident: u64,
    /// Resident memory in bytes; pages that processes share are divided among them.
    pub proportional: u64,
    /// Of one core, in percent.
    pub cpu_percent: f64,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Idle.
    pub idle: Duration,
    /// Under load.
    pub load: Duration,
}

/// Measures all contenders that have processes.
///
/// # Errors
/// When no lab can be built. A contender that fails is left out, and the report says why.
pub fn measure(plan: Plan) -> anyhow::Result<Resources> {
    let (tls, plain) = (Scheme::Tls.lab(Lab::builder())?, Scheme::Plain.lab(Lab::builder())?);
    let mut resources = Resources {
        idle_seconds: plan.idle.as_secs_f64(),
        load_seconds: plan.load.as_secs_f64(),
        ..Resources::default()
    };
    for contender in CONTENDERS {
        match row(contender, &tls, &plain, plan) {
            Ok(row) => resources.rows.push(row),
            Err(error) => resources.unmeasured.push((contender, format!("{error:#}"))),
        }
        eprintln!("  resources: {}", contender.name());
    }
    Ok(resources)
}

fn row(contender: Contender, tls: &Lab, plain: &Lab, plan: Plan) -> anyhow::Result<Row> {
    let running = contender.start(tls, Scheme::Tls)?;
    std::thread::sleep(SETTLE);
    let idle = used(&running, || {
        std::thread::sleep(plan.idle);
        Ok(())
    })?;
    let processes = running.pids().len();
    drop(running);
    let running = contender.start(plain, Scheme::Plain)?;
    let client = Client { workload: Workload::KeepAlive, slice: plan.load, warm_up: WARM_UP };
    let mut requests_per_second = 0.0;
    let load = used(&running, || {
        let observed = client.run(plain, plain.node(), &running)?;
        requests_per_second = observed.operations as f64 / observed.seconds;
        Ok(())
    })?;
    Ok(Row { contender, processes, idle, load, requests_per_second })
}

/// What the contender uses while `meanwhile` runs; the memory is that at its end.
fn used(running: &Running, meanwhile: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Use> {
    let pids = running.pids();
    let (began, before) = (Instant::now(), usage::cpu_time(&pids));
    meanwhile()?;
    let (took, spent) = (began.elapsed(), usage::cpu_time(&pids).saturating_sub(before));
    let memory = usage::memory(&pids)?;
    Ok(Use {
        resident: memory.resident,
        proportional: memory.proportional,
        cpu_percent: 100.0 * spent.as_secs_f64() / took.as_secs_f64(),
    })
}

impl Resources {
    /// The report's section, Markdown.
    #[must_use]
    pub fn render(&self) -> String {
        let head = [
            "",
            "processes",
            "RSS idle",
            "PSS idle",
            "CPU idle",
            "RSS load",
            "PSS load",
            "CPU load",
            "requests/s",
        ];
        let rows: Vec<Vec<String>> = self.rows.iter().map(Row::cells).collect();
        let mut text = format!(
            "## Resources of the balancer\n\nIdle: {} s without a client, three TLS masters. Load: {} s of requests on 8 kept connections, without \
             TLS. Memory in MiB (PSS: what processes share is divided among them), CPU in percent of one core; what \
             the kernel does for clients of lbctl is done on their own time.\n\n{}",
            number(self.idle_seconds),
            number(self.load_seconds),
            markdown::table(&head, &rows),
        );
        for (contender, why) in &self.unmeasured {
            text.push_str(&format!("\nNot measured: {}: {why}\n", contender.name()));
        }
        text
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let of = |used: Use| {
            let [resident, proportional] = [used.resident, used.proportional].map(mebibytes).map(number);
            [resident, proportional, format!("{:.2} %", used.cpu_percent)]
        };
        let first = [self.contender.name().to_owned(), self.processes.to_string()];
        let cells = first.into_iter().chain(of(self.idle)).chain(of(self.load));
        cells.chain([number(self.requests_per_second)]).collect()
    }
}
