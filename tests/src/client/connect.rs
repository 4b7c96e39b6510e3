//! `connect`: connections one after another.

use std::time::{Duration, Instant};

use super::dial::{Failure, Target};
use super::exchange::whoami;
use super::tally::Tally;
use super::{Endpoint, TlsOptions};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How many connections to open
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Connect, ask getpeername() and close
    #[arg(long)]
    tcp_only: bool,
}

pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let target = args.endpoint.target(tls).await?;
    let mut tally = Tally::new(Instant::now());
    for _ in 0..args.count {
        let began = Instant::now();
        if args.tcp_only {
            match bare(&target).await {
                Ok((peer, took)) => tally.record_bare(began, peer, took),
                Err(failure) => tally.record(began, Err(failure)),
            }
        } else {
            let outcome = whoami(&target).await;
            tally.record(began, outcome);
        }
    }
    println!("{}", tally.report());
    Ok(())
}

async fn bare(target: &Target) -> Result<(String, Duration), Failure> {
    let connected = target.connect().await?;
    Ok((target.peer(&connected.stream)?.to_string(), connected.took))
}
