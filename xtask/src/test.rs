//! `cargo xtask test`: everything that must pass.

mod in_vm;
mod labelled;
mod libtest;
mod summary;

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::Instant,
};

use anyhow::{Result, bail};

use self::{
    in_vm::Suite,
    labelled::Labelled,
    libtest::{Counts, Parser},
    summary::{Stage, Verdict},
};
use crate::{build, image, lint, process, setup, terminal, vm::machine::Stream};

/// Run all tests: lint, unit, property, doc and end-to-end tests.
///
/// A test that is ignored or skipped counts as a failure of the run, and so does a stage without tests. The
/// end-to-end tests run the static release binary in network namespaces and need root. What needs IPVS, and what must
/// hold on older kernels too, runs in virtual machines with Debian's kernels.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                  everything (as root)
  cargo xtask test --no-vm          only what runs on this kernel
  cargo xtask test --no-e2e         without the end-to-end tests
  cargo xtask test drain            only the tests with `drain` in their name")]
pub(crate) struct Args {
    /// Leave out the end-to-end tests
    #[arg(long)]
    no_e2e: bool,

    /// Leave out what runs in virtual machines
    #[arg(long)]
    no_vm: bool,

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
    let mut stages = vec![task("setup", || prepare(args))];
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
    let mut built = None;
    stages.push(task("build", || {
        let binary = build::release()?;
        let image = image::pack_as_usual(&binary)?;
        built = Some((binary.path, image.path));
        process::run(process::cargo("test").args(["--package", "lb-tests", "--no-run"]))
    }));
    let Some((lbctl, image)) = built else {
        terminal::error("failed to run the end-to-end tests: there is no lbctl to test");
        return stages;
    };
    let mut on_this_kernel = end_to_end_tests(args);
    on_this_kernel.env("LBCTL_BIN", &lbctl).env("LBCTL_TEST_IMAGE", &image);
    stages.push(tests("end-to-end", &mut on_this_kernel));
    if args.no_vm {
        println!("the tests in virtual machines were not run (--no-vm)");
    } else {
        stages.extend(tests_in_vms(args, &lbctl));
    }
    stages
}

fn prepare(args: &Args) -> Result<()> {
    if !args.no_e2e && !setup::is_root() {
        bail!(
            "failed to prepare the end-to-end tests: making network namespaces needs root; \
             run as root, or leave them out with `cargo xtask test --no-e2e`"
        );
    }
    setup::ensure(match args {
        Args { no_e2e: true, .. } => setup::BUILDING,
        Args { no_vm: true, .. } => setup::ON_THIS_KERNEL,
        Args { .. } => setup::EVERYTHING,
    })
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
    command.args(libtest_arguments(args)).arg("--test-threads=2").args(in_vm::NOT_ON_THE_HOST);
    command
}

fn libtest_arguments(args: &Args) -> Vec<String> {
    let mut arguments = vec!["--".to_owned(), colour().to_owned()];
    arguments.extend(args.filter.clone());
    arguments
}

/// Libtest sees a pipe and not the terminal behind it.
fn colour() -> &'static str {
    if terminal::stdout_has_colours() { "--color=always" } else { "--color=never" }
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
    counted(name, print, |count| {
        let status = process::stream(command, |chunk| count(chunk))?;
        if !status.success() {
            bail!("failed to run the tests without failures: {status}");
        }
        Ok(())
    })
}

/// The stages in virtual machines, side by side: a machine has one processor.
fn tests_in_vms(args: &Args, lbctl: &Path) -> Vec<Stage> {
    thread::scope(|scope| {
        let stages: Vec<_> = in_vm::SUITES
            .iter()
            .map(|suite| (suite, scope.spawn(move || tests_in_vm(suite, args, lbctl))))
            .collect();
        let ended = |(suite, stage): (&Suite, thread::ScopedJoinHandle<'_, Stage>)| {
            stage.join().unwrap_or_else(|_| task(suite.stage, || bail!("its thread panicked")))
        };
        stages.into_iter().map(ended).collect()
    })
}

/// A stage whose tests run in a virtual machine. A machine that does not start counts as a failed test.
fn tests_in_vm(suite: &Suite, args: &Args, lbctl: &Path) -> Stage {
    terminal::step(suite.stage);
    let (mut out, mut err) = (Labelled::new(suite.stage), Labelled::new(suite.stage));
    let stage = counted(
        suite.stage,
        |chunk| out.write(chunk, &mut io::stdout().lock()),
        |count| {
            let arguments = [colour().to_owned()];
            in_vm::run(suite, lbctl, &arguments, args.filter.as_deref(), |stream, piece| match stream {
                Stream::Out => count(piece),
                Stream::Err => err.write(piece, &mut io::stderr().lock()),
            })
        },
    );
    // Nothing is left to be done where not even this can be shown.
    let _ = out.finish(&mut io::stdout().lock()).and_then(|()| err.finish(&mut io::stderr().lock()));
    stage
}

fn print(chunk: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(chunk)?;
    out.flush()
}

/// Takes a piece of the output of tests.
type Count<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

fn counted(
    name: &'static str,
    mut print: impl FnMut(&[u8]) -> io::Result<()>,
    run: impl FnOnce(&mut Count<'_>) -> Result<()>,
) -> Stage {
    let begun = Instant::now();
    let mut parser = Parser::default();
    let outcome = run(&mut |chunk| {
        parser.feed(chunk);
        print(chunk)
    });
    if let Err(error) = &outcome {
        terminal::error(&format!("{error:#}"));
    }
    let counts: Counts = parser.finish();
    Stage { name, verdict: Verdict::Tests { ok: outcome.is_ok(), counts }, took: begun.elapsed() }
}
