//! `bench`: what `cargo xtask bench` runs.

use clap::{Parser, Subcommand};
use lb_bench::{client, probes, run};

/// Measures lbctl beside its peers.
///
/// Needs root. Everything it makes is removed at the end.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure and write the report
    Run(run::Args),
    /// Measure some contenders while nothing fails and write the figures alone
    Steady(run::SteadyArgs),
    /// Measure some contenders while masters fail in some ways and print the section of the report
    Failover(run::FailoverArgs),
    /// Render the report from its figures
    Render(run::RenderArgs),
    /// Work as a client does and print what it saw
    Client(client::Args),
    /// Ask one master as agents do and print what it cost
    ProbesClient(probes::Args),
}

fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Steady(args) => run::steady(&args),
        Command::Failover(args) => run::failover(&args),
        Command::Render(args) => run::render(&args),
        Command::Client(args) => client::run(&args),
        Command::ProbesClient(args) => probes::run(&args),
    }
}
