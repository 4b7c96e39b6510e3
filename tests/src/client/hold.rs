//! `hold`: one connection, watched until it ends.

use std::io::Write;
use std::time::Instant;

use anyhow::bail;

use super::exchange::watch;
use super::{Endpoint, TlsOptions, millis};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Prints `open LOCAL SERVER`, and when the stream ends `ended ERROR MS`.
pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let target = args.endpoint.target(tls).await?;
    let mut stream = match watch(&target).await {
        Ok(stream) => stream,
        Err(failure) => bail!("open a watch: {failure}"),
    };
    let opened = Instant::now();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "open {} {}", stream.local, stream.by)?;
    stdout.flush()?;
    loop {
        if let Err(failure) = stream.next().await {
            writeln!(stdout, "ended {failure} {}", millis(opened.elapsed()))?;
            return Ok(());
        }
    }
}
