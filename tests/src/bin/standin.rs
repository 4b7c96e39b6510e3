//! `apiserver-standin`: one master of the lab.

use clap::Parser;
use lb_tests::standin::{Options, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    run(Options::parse()).await
}
