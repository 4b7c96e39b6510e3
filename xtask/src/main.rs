//! The project's own commands: `cargo xtask <command>`.

mod bench;
mod build;
mod commit;
mod demo;
mod dist;
mod image;
mod lint;
mod process;
mod setup;
mod terminal;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and pack lbctl.
///
/// Every command that builds first looks for the tools it needs and, when run as root, installs the missing ones.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                 lint, unit, property, doc and end-to-end tests (as root)
  cargo xtask test --no-e2e        the same without the end-to-end tests (no root needed)
  cargo xtask demo                 three apiserver stand-ins, a node and a few disasters
  cargo xtask bench                lbctl measured beside other load balancers, into docs/benchmarks
  cargo xtask build --release      the static binary
  cargo xtask image                a container image with the static binary";

#[derive(Subcommand)]
enum Task {
    Setup(setup::Args),
    Build(build::Args),
    Lint(lint::Args),
    Test(test::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Vm(vm::Args),
    Dist(dist::Args),
    Image(image::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Task::Setup(args) => setup::run(&args),
        Task::Build(args) => build::run(&args),
        Task::Lint(args) => lint::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Image(args) => image::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            terminal::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
