//! The client's side of a slice, a process of its own: it works for a given time and says what it saw.
//!
//! Blocking sockets and one thread for each connection, so that nothing but the kernel lies between the clock and the
//! network. Each workload opens connections with [`Dialer`], which picks one of the targets at random, also when there is
//! only one.

mod bulk;
mod connect;
mod dialer;
mod exchange;
mod handshake;
mod keep_alive;
mod samples;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use self::dialer::Dialer;
use crate::usage;

/// What a client does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// connect(), one after another, and nothing on the connection.
    Connect,
    /// A new connection, a TLS handshake and one GET, one after another.
    Tls,
    /// GETs on connections that are kept.
    KeepAlive,
    /// Downloads, one after another.
    Bulk,
}

/// Flags of `bench client`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[arg(value_enum)]
    pub workload: Workload,
    /// Where to connect; one of several is picked at random each time
    #[arg(long = "target", required = true, value_name = "ADDR")]
    pub targets: Vec<SocketAddr>,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Duration,
    /// How long to work before that
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub warm_up: Duration,
    /// CA certificates to trust, PEM; for tls
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Name that the certificate must carry; for tls
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
}

/// What a client saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observed {
    /// What was finished while it measured: connections, requests, downloads.
    pub operations: u64,
    /// For how long it worked while it measured, in seconds.
    pub seconds: f64,
    /// How long one took, in nanoseconds: half of them no longer.
    pub p50_ns: Option<u32>,
    /// 99 of 100 no longer.
    pub p99_ns: Option<u32>,
    /// Bytes of bodies while it measured.
    pub bytes: u64,
    /// What was finished in its whole life, warm-up included.
    pub all_operations: u64,
    /// Bytes of bodies in its whole life.
    pub all_bytes: u64,
    /// Time on a processor in its whole life, in nanoseconds.
    pub cpu_ns: u64,
}

/// What a workload returns: the samples of its operations and the bytes of their bodies.
#[derive(Default)]
struct Work {
    samples: samples::Samples,
    bytes: u64,
    all_bytes: u64,
    /// For how long it worked while it measured, where it rests now and then.
    busy: Option<Duration>,
}

/// When to measure.
#[derive(Clone, Copy)]
struct Schedule {
    from: Instant,
    to: Instant,
}

/// Works, and prints what it saw as JSON.
///
/// # Errors
/// When a connection fails: there is no fault in a steady slice.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let dialer = Dialer::new(&args.targets);
    let from = Instant::now() + args.warm_up;
    let schedule = Schedule { from, to: from + args.seconds };
    let work = match args.workload {
        Workload::Connect => connect::run(&dialer, schedule),
        Workload::Tls => handshake::run(&dialer, schedule, args),
        Workload::KeepAlive => keep_alive::run(&dialer, schedule),
        Workload::Bulk => bulk::run(&dialer, schedule),
    }?;
    let observed = work.observed(schedule);
    println!("{}", serde_json::to_string(&observed).context("print what was seen")?);
    Ok(())
}

impl Schedule {
    fn is_over(self) -> bool {
        Instant::now() >= self.to
    }

    /// Whether what began then counts.
    fn counts(self, began: Instant) -> bool {
        (self.from..self.to).contains(&began)
    }
}

impl Work {
    fn observed(self, schedule: Schedule) -> Observed {
        let (p50_ns, p99_ns) = (self.samples.percentile(50.0), self.samples.percentile(99.0));
        Observed {
            operations: self.samples.counted(),
            seconds: self.busy.unwrap_or(schedule.to - schedule.from).as_secs_f64(),
            p50_ns,
            p99_ns,
            bytes: self.bytes,
            all_operations: self.samples.all(),
            all_bytes: self.all_bytes,
            cpu_ns: u64::try_from(usage::own_cpu_time().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let seconds: f64 = text.parse().with_context(|| format!("read the seconds in {text:?}"))?;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("read the seconds in {text:?}"))
}
