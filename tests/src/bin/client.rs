//! `lab-client`: connections to the virtual address, and what became of them.

use clap::Parser;
use lb_tests::client::{Options, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    run(Options::parse()).await
}
