//! `cargo xtask demo`: lbctl at work among apiserver stand-ins that fail.

use std::{os::unix::process::CommandExt as _, process::ExitCode};

use anyhow::{Result, anyhow, bail};

use crate::{build, process, setup, terminal};

/// Show lbctl at work: three apiserver stand-ins, a node, real requests and a few disasters.
///
/// Everything lives in network namespaces of its own, which are removed at the end. Needs root.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo             build what is needed and run it
  cargo xtask demo -- --help   what the demo itself understands")]
pub(crate) struct Args {
    /// Passed on to the demo
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !setup::is_root() {
        bail!(
            "failed to start the demo: making network namespaces needs root; run `cargo xtask demo` as root"
        );
    }
    setup::ensure(setup::BUILDING)?;
    let binary = build::release()?;
    // All of its programs: the demo starts the stand-ins and clients that lie beside it.
    process::run(process::cargo("build").args(["--quiet", "--package", "lb-tests", "--bins"]))?;
    terminal::step("starting the demo");
    // In our place, so that Ctrl-C ends nothing but the demo, which has something to clean up.
    let demo = process::target_dir().join("debug/demo");
    let failed =
        process::command(&demo.to_string_lossy()).args(&args.arguments).env("LBCTL_BIN", &binary.path).exec();
    Err(anyhow!(failed).context(format!("failed to start {}", demo.display())))
}
