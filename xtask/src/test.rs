//! `cargo xtask test`: everything that must pass.

mod libtest;
mod summary;

use std::{
    io::{self, Write as _},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Result, bail};

use self::{
    libtest::{Counts, Parser},
    summary::{Stage, Verdict},
};
use crate::{build, lint, process, setup, terminal};

/// Run all tests: lint, unit, property, doc and end-to-end tests.
///
/// A test that is ignored or skipped counts as a failure of the run, and so does a stage without tests. The
/// end-to-end tests run the static release binary in network namespaces and need root.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                  everything (as root)
  cargo xtask test --no-e2e         without the end-to-end tests
  cargo xtask test drain            only the tests with `drain` in their name")]
pub(crate) struct Args {
    /// Leave out the end-to-end tests
    #[arg(long)]
    no_e2e: bool,

    /// Run only the tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let stages = run_stages(args);
    let summary = summary::summarise(&stages, args.filter.is_some());
    println!("\n{}", summary.text);
    Ok(if summary.success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_stages(args: &Args) -> Vec<Stage> {
    let mut stages = vec![task("setup", || prepare(args.no_e2e))];
    // Without the tools all else would fail too, and say so less clearly.
    if stages.iter().any(Stage::has_failed) {
        return stages;
    }
    stages.push(task("lint", lint::check));
    stages.push(tests("unit", &mut unit_tests(args)));
    if args.no_e2e {
        println!("the end-to-end tests were not run (--no-e2e)");
        return stages;
    }
    let mut binary = None;
    stages.push(task("build", || {
        binary = Some(build::release()?.path);
        process::run(process::cargo("test").args(["--package", "lb-tests", "--no-run"]))
    }));
    match binary {
        Some(path) => stages.push(tests("end-to-end", end_to_end_tests(args).env("LBCTL_BIN", path))),
        None => terminal::error("failed to run the end-to-end tests: there is no lbctl to test"),
    }
    stages
}

fn prepare(no_e2e: bool) -> Result<()> {
    if !no_e2e && !setup::is_root() {
        bail!(
            "failed to prepare the end-to-end tests: making network namespaces needs root; \
             run as root, or leave them out with `cargo xtask test --no-e2e`"
        );
    }
    setup::ensure(setup::BUILDING)
}

fn unit_tests(args: &Args) -> Command {
    let mut command = process::cargo("test");
    command.args(["--workspace", "--exclude", "lb-ebpf", "--exclude", "lb-tests", "--no-fail-fast"]);
    command.args(libtest_arguments(args));
    command
}

fn end_to_end_tests(args: &Args) -> Command {
    let mut command = process::cargo("test");
    command.args(["--package", "lb-tests", "--no-fail-fast"]);
    // Timing is part of what is tested, so few run side by side.
    command.args(libtest_arguments(args)).arg("--test-threads=2");
    command
}

fn libtest_arguments(args: &Args) -> Vec<String> {
    // Libtest sees a pipe and not the terminal behind it.
    let colour = if terminal::stdout_has_colours() { "--color=always" } else { "--color=never" };
    let mut arguments = vec!["--".to_owned(), colour.to_owned()];
    arguments.extend(args.filter.clone());
    arguments
}

/// A stage that succeeds or fails as a whole.
fn task(name: &'static str, work: impl FnOnce() -> Result<()>) -> Stage {
    terminal::step(name);
    let begun = Instant::now();
    let outcome = work();
    if let Err(error) = &outcome {
        terminal::error(&format!("{error:#}"));
    }
    Stage { name, verdict: Verdict::Task { ok: outcome.is_ok() }, took: begun.elapsed() }
}

/// A stage made of tests, counted as they report.
fn tests(name: &'static str, command: &mut Command) -> Stage {
    terminal::step(&format!("{name}: {}", process::shown(command)));
    let begun = Instant::now();
    let mut parser = Parser::default();
    let outcome = process::stream(command, |chunk| {
        parser.feed(chunk);
        let mut out = io::stdout().lock();
        out.write_all(chunk)?;
        out.flush()
    });
    if let Err(error) = &outcome {
        terminal::error(&format!("{error:#}"));
    }
    let ok = outcome.is_ok_and(|status| status.success());
    let counts: Counts = parser.finish();
    Stage { name, verdict: Verdict::Tests { ok, counts }, took: begun.elapsed() }
}
