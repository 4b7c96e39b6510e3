//! `syn`: one connect, to see when and how it ends.

use std::time::Instant;

use serde_json::json;

use super::{Endpoint, TlsOptions, millis};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Prints `{"result": "connected" | ERROR, "ms": n}`; give `--connect-timeout` the longest wait.
pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let target = args.endpoint.target(tls).await?;
    let began = Instant::now();
    let result = match target.connect().await {
        Ok(_) => "connected".to_owned(),
        Err(failure) => failure.to_string(),
    };
    println!("{}", json!({"result": result, "ms": millis(began.elapsed())}));
    Ok(())
}
