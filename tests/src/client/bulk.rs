//! `bulk`: large bodies in both directions, so that packets are as large as the path takes, and larger.

use std::time::Instant;

use serde_json::{Value, json};

use super::dial::Failure;
use super::exchange::{fetch, send};
use super::{Endpoint, TlsOptions, millis};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How much to send, and how much to fetch
    #[arg(long, default_value_t = 1, value_name = "MIB")]
    size: u64,
    /// How often
    #[arg(long, default_value_t = 1)]
    count: u32,
}

/// Prints `{"up": [{"server" | "error", "ms"}], "down": […]}`.
pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let target = args.endpoint.target(tls).await?;
    let bytes = usize::try_from(args.size << 20)?;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..args.count {
        let began = Instant::now();
        up.push(told(send(&target, bytes).await, began));
        let began = Instant::now();
        down.push(told(fetch(&target, args.size).await, began));
    }
    println!("{}", json!({"up": up, "down": down}));
    Ok(())
}

fn told(outcome: Result<String, Failure>, began: Instant) -> Value {
    let ms = millis(began.elapsed());
    match outcome {
        Ok(server) => json!({"server": server, "ms": ms}),
        Err(failure) => json!({"error": failure.to_string(), "ms": ms}),
    }
}
