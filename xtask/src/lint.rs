//! `cargo xtask lint`: layout, clippy, the architecture's rules and, where cargo-deny is there, its policy.

mod architecture;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use self::architecture::{Finding, Severity};
use crate::{process, setup, terminal};

/// Check the source: layout, clippy, architecture, dependencies.
///
/// All checks run, even when an earlier one fails.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask lint     exit code 1 if anything is to be mended
  cargo fmt --all      mends the layout")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    setup::ensure(setup::BUILDING)?;
    check()?;
    println!("{}", terminal::good("nothing to mend"));
    Ok(ExitCode::SUCCESS)
}

type Check = fn() -> Result<()>;

/// Runs every check.
///
/// # Errors
/// When one of them found something, after all of them ran.
pub(crate) fn check() -> Result<()> {
    let checks: [(&str, Check); 4] = [
        ("layout (cargo fmt)", check_layout),
        ("clippy", run_clippy),
        ("architecture", check_architecture),
        ("dependencies (cargo deny)", check_dependencies),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        terminal::step(name);
        if let Err(error) = check() {
            terminal::error(&format!("{error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed to find the source in order: {}", failed.join(", "));
    }
    Ok(())
}

fn check_layout() -> Result<()> {
    // Left to itself, rustfmt colours what it writes to a file as well.
    let colour = if terminal::stdout_has_colours() { "always" } else { "never" };
    process::run(process::cargo("fmt").args(["--all", "--check", "--", "--color", colour]))
        .context("the layout is not rustfmt's; `cargo fmt --all` mends it")
}

fn run_clippy() -> Result<()> {
    process::run(process::cargo("clippy").args([
        "--workspace",
        "--exclude",
        "lb-ebpf",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn check_dependencies() -> Result<()> {
    let is_installed = process::search_path().iter().any(|dir| dir.join("cargo-deny").exists());
    if !is_installed {
        println!("cargo-deny is not installed: licences and advisories were not checked");
        return Ok(());
    }
    process::run(process::cargo("deny").args(["--workspace", "check"]))
}

fn check_architecture() -> Result<()> {
    let mut files = Vec::new();
    collect_rust_files(&process::root(), Path::new(""), &mut files)?;
    let mut findings = Vec::new();
    for path in &files {
        findings.extend(architecture::check_source(&path.to_string_lossy(), &read(path)?));
    }
    let manifest = Path::new("lb-core/Cargo.toml");
    findings.extend(architecture::check_core_manifest(&manifest.to_string_lossy(), &read(manifest)?));
    report(&findings)
}

fn report(findings: &[Finding]) -> Result<()> {
    let mut errors = 0;
    for finding in findings {
        match finding.severity {
            Severity::Warning => terminal::warning(&finding.text),
            Severity::Error => {
                errors += 1;
                terminal::error(&finding.text);
            }
        }
    }
    if errors > 0 {
        bail!("failed to find the architecture's rules kept: {errors} breaches");
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(process::root().join(path))
        .with_context(|| format!("failed to read {}", path.display()))
}

/// Adds the `.rs` files below `root/below`, as paths relative to `root`; without cargo's products.
fn collect_rust_files(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let dir = root.join(below);
    let failed = || format!("failed to list {}", dir.display());
    for entry in fs::read_dir(&dir).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type().with_context(failed)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if kind.is_dir() && !is_hidden && !is_cargo_output(&entry.path()) {
            collect_rust_files(root, &path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// Cargo marks its target directories (https://bford.info/cachedir/), whatever they are called.
fn is_cargo_output(dir: &Path) -> bool {
    dir.join("CACHEDIR.TAG").exists()
}
