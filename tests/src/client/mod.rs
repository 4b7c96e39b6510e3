//! The lab's client: opens connections the way kubelet, curl and Java do, and says what became of them.
//!
//! `dial` opens and names failures, `exchange` speaks the HTTP that is needed; one file per subcommand.

mod bulk;
mod connect;
mod dial;
mod exchange;
mod flood;
mod hold;
mod load;
mod pace;
mod syn;
mod tally;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};

use self::dial::Target;

/// Flags of `lab-client`.
#[derive(Debug, Parser)]
#[command(
    name = "lab-client",
    about = "Opens connections and reports what became of them",
    args_override_self = true
)]
pub struct Options {
    #[command(flatten)]
    tls: TlsOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct TlsOptions {
    /// Speak TLS (needs --ca)
    #[arg(long, global = true)]
    tls: bool,
    /// CA certificates to trust, PEM
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name that the certificate must carry; the address of --to if absent
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open connections one after another, one GET /whoami on each
    Connect(connect::Args),
    /// Many clients that open connections in a loop, and some that hold one
    Load(load::Args),
    /// Open a connection at a fixed pace, whatever became of the earlier ones, and hold some
    Pace(pace::Args),
    /// Open one /watch and say when and how it ends
    Hold(hold::Args),
    /// Start one connect and say when and how it ends
    Syn(syn::Args),
    /// Send much on one connection, and fetch much on another
    Bulk(bulk::Args),
    /// Send SYNs and nothing else (needs CAP_NET_RAW; IPv4)
    Flood(flood::Args),
}

/// Where to connect, and with which kind of socket.
#[derive(Debug, clap::Args)]
struct Endpoint {
    /// HOST:PORT or [v6]:PORT
    #[arg(long, value_name = "ADDR")]
    to: String,
    /// The socket's family and the form of the address given to connect()
    #[arg(long, value_enum, default_value_t = Family::V4)]
    family: Family,
    /// Longest wait for connect(), times LBCTL_TEST_SLOWNESS
    #[arg(long, default_value = "1s", value_parser = duration)]
    connect_timeout: Duration,
    /// Longest wait for everything after connect(), times LBCTL_TEST_SLOWNESS
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

/// The kinds of sockets that programs on a node use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6` connecting to `::ffff:a.b.c.d`, as Go and Java do.
    Mapped,
    /// `AF_INET6` connecting to an IPv6 address.
    V6,
}

/// Runs the subcommand; what it finds goes to stdout as JSON, whether the connections succeeded or not.
///
/// # Errors
/// A flag that makes no sense, or output that cannot be written.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options { tls, command } = options;
    match command {
        Command::Connect(args) => connect::run(args, &tls).await,
        Command::Load(args) => load::run(args, &tls).await,
        Command::Pace(args) => pace::run(args, &tls).await,
        Command::Hold(args) => hold::run(args, &tls).await,
        Command::Syn(args) => syn::run(args, &tls).await,
        Command::Bulk(args) => bulk::run(args, &tls).await,
        Command::Flood(args) => flood::run(args, &tls).await,
    }
}

impl Endpoint {
    async fn target(&self, tls: &TlsOptions) -> anyhow::Result<Target> {
        Target::resolve(self, tls).await
    }
}

/// Reads `500ms`, `2s`, `1m`.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().with_context(|| format!("read the number in {text:?}"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        unit => bail!("unknown unit {unit:?} in {text:?}: write 500ms, 2s or 1m"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let read = [("0ms", 0), ("500ms", 500), ("2s", 2_000), ("1m", 60_000)];
        for (text, ms) in read {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1h", "1 s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
