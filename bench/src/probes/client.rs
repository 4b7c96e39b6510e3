//! The client's side: one connection in a tight loop, or thousands that behave as one agent each. It reads what the server
//! uses from /proc, so that the figures belong to exactly what it did.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::fleet;
use super::peer::Target;
use crate::usage;

/// File descriptors beside the connections.
const SPARE_FILES: u64 = 64;

/// Flags of `bench probes-client`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The master
    #[arg(long, value_name = "ADDR")]
    target: SocketAddr,
    /// CA certificates to trust, PEM
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Name that the certificate must carry
    #[arg(long, value_name = "NAME")]
    server_name: String,
    /// The master's process
    #[arg(long, value_name = "PID")]
    server: u32,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Ask as often as there are answers, on one connection
    Loop {
        /// How many questions of each kind
        #[arg(long, default_value_t = 20_000)]
        count: u32,
    },
    /// Be so many agents at once
    Fleet(fleet::Args),
}

/// What one question costs the master.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Single {
    /// How many of each kind were asked.
    pub count: u32,
    /// A PING.
    pub ping: Question,
    /// A GET /readyz.
    pub readyz: Question,
}

/// Averages over a loop, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The server's time on a processor.
    pub server_cpu_us: f64,
    /// From question to answer.
    pub round_trip_us: f64,
}

/// Works, and prints what it saw as JSON.
///
/// # Errors
/// When the master does not answer, or this process may not have enough files open.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    let target = Target::new(args.target, &args.ca, &args.server_name)?;
    let text = match &args.work {
        Work::Loop { count } => {
            serde_json::to_string(&runtime.block_on(tight(&target, *count, args.server))?)
        }
        Work::Fleet(fleet) => {
            allow_files(2 * u64::from(fleet.connections) + SPARE_FILES)?;
            serde_json::to_string(&runtime.block_on(fleet::run(&target, fleet, args.server))?)
        }
    };
    println!("{}", text.context("print what was seen")?);
    Ok(())
}

async fn tight(target: &Target, count: u32, server: u32) -> anyhow::Result<Single> {
    let mut peer = target.open().await?;
    // What is done once for a connection belongs to none of the questions.
    for _ in 0..count / 10 {
        peer.ping().await?;
        peer.readyz().await?;
    }
    let stretch = Stretch::begin(server);
    for _ in 0..count {
        peer.ping().await?;
    }
    let ping = stretch.end().each(count);
    let stretch = Stretch::begin(server);
    for _ in 0..count {
        peer.readyz().await?;
    }
    Ok(Single { count, ping, readyz: stretch.end().each(count) })
}

/// Raises the limit of open files as far as is needed.
fn allow_files(needed: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(most >= needed, "open {needed} files: at most {most} are allowed (hint: ulimit -Hn)");
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: limit.maximum, ..limit };
        setrlimit(Resource::Nofile, raised).context("raise the limit of open files")?;
    }
    Ok(())
}

/// A stretch of time, and who used a processor in it.
pub(super) struct Stretch {
    began: Instant,
    server: u32,
    server_cpu: Duration,
    own_cpu: Duration,
}

/// What a stretch took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Took {
    /// Its length.
    pub seconds: f64,
    /// The server's time on a processor.
    pub server_cpu_seconds: f64,
    /// The client's time on a processor.
    pub client_cpu_seconds: f64,
}

impl Stretch {
    pub(super) fn begin(server: u32) -> Self {
        Self {
            began: Instant::now(),
            server,
            server_cpu: usage::cpu_time(&[server]),
            own_cpu: usage::own_cpu_time(),
        }
    }

    pub(super) fn end(&self) -> Took {
        let server = usage::cpu_time(&[self.server]).saturating_sub(self.server_cpu);
        Took {
            seconds: self.began.elapsed().as_secs_f64(),
            server_cpu_seconds: server.as_secs_f64(),
            client_cpu_seconds: usage::own_cpu_time().saturating_sub(self.own_cpu).as_secs_f64(),
        }
    }
}

impl Took {
    /// Percent of a core that the server used.
    #[must_use]
    pub fn server_percent(&self) -> f64 {
        100.0 * self.server_cpu_seconds / self.seconds
    }

    /// Percent of a core that the client used.
    #[must_use]
    pub fn client_percent(&self) -> f64 {
        100.0 * self.client_cpu_seconds / self.seconds
    }

    fn each(&self, count: u32) -> Question {
        let each = |seconds: f64| 1e6 * seconds / f64::from(count);
        Question { server_cpu_us: each(self.server_cpu_seconds), round_trip_us: each(self.seconds) }
    }
}
