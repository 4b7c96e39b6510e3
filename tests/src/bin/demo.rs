//! `demo`: what `cargo xtask demo` runs.

use std::process::ExitCode;

use clap::Parser;

/// lbctl at work: three apiserver stand-ins, a node, real requests and a few disasters, in about a minute.
///
/// Exits with 1 when something did not turn out as claimed. Needs root; everything it makes is removed at the end, also
/// after Ctrl-C.
#[derive(Parser)]
#[command(name = "demo")]
struct Options {}

fn main() -> ExitCode {
    let Options {} = Options::parse();
    lb_tests::demo::run()
}
