//! `cargo xtask setup`: makes a machine able to build and test lbctl.

mod decision;
mod machine;
mod needs;
mod services;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::needs::Purpose;
use self::{
    decision::Step,
    machine::{Here, Machine as _},
    needs::{Invocation, NEEDS, Need},
};
use crate::{process, terminal};

/// Install what building and testing needs, or say what is missing.
///
/// Looks for the tools themselves, so it does not matter how they were installed. As root it installs what is
/// missing; as anyone else it prints the commands and exits with 1.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask setup            install what is missing (as root)
  cargo xtask setup --check    only say what is missing; exit code 1 if anything is")]
pub(crate) struct Args {
    /// Change nothing: list what is missing and how to get it
    #[arg(long)]
    check: bool,

    /// Leave out what only virtual machines need
    #[arg(long)]
    no_vm: bool,
}

/// Building, testing here and in virtual machines.
pub(crate) const EVERYTHING: &[Purpose] = &[Purpose::Building, Purpose::Containers, Purpose::VirtualMachines];
/// Building and testing here.
pub(crate) const ON_THIS_KERNEL: &[Purpose] = &[Purpose::Building, Purpose::Containers];
/// What the other commands need.
pub(crate) const BUILDING: &[Purpose] = &[Purpose::Building];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let purposes = if args.no_vm { ON_THIS_KERNEL } else { EVERYTHING };
    let missing = decision::missing(NEEDS, purposes, &Here);
    if missing.is_empty() {
        println!("everything needed is there");
        return Ok(ExitCode::SUCCESS);
    }
    if args.check {
        print!("{}", listing(&missing));
        return Ok(ExitCode::FAILURE);
    }
    ensure(purposes)?;
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing for these purposes, and leaves no service running that was not before.
///
/// # Errors
/// When something is missing and we are not root, or cannot be installed.
pub(crate) fn ensure(purposes: &[Purpose]) -> Result<()> {
    let missing = decision::missing(NEEDS, purposes, &Here);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!("failed to find all that is needed, and only root can install it\n{}", listing(&missing));
    }
    let steps = decision::steps(&missing);
    if steps.contains(&Step::UpdatePackageLists) && !Here.has_program("apt-get") {
        bail!(
            "failed to find apt-get: install the equivalents of these packages by hand\n{}",
            listing(&missing)
        );
    }
    for need in &missing {
        terminal::step(&format!("missing: {} ({})", need.what, need.why));
    }
    services::kept_from_starting(&decision::services(&missing), || steps.iter().try_for_each(install))?;
    let still: Vec<&str> = decision::missing(NEEDS, purposes, &Here).iter().map(|need| need.what).collect();
    if !still.is_empty() {
        bail!("failed to find {} although installing went well", still.join(", "));
    }
    Ok(())
}

fn install(step: &Step) -> Result<()> {
    terminal::step(&typed(step));
    process::run(&mut command_for(step)).context("failed to install what is missing")
}

/// Whether we may install packages and make network namespaces.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn listing(missing: &[&Need]) -> String {
    let width = missing.iter().map(|need| need.what.len()).max().unwrap_or(0);
    let mut text = String::from("missing:\n");
    for need in missing {
        text.push_str(&format!("  {:width$}  {}\n", need.what, need.why));
    }
    text.push_str("to be run as root (on Debian 12):\n");
    for step in decision::steps(missing) {
        text.push_str(&format!("  {}\n", typed(&step)));
    }
    text
}

/// The step as one could type it.
fn typed(step: &Step) -> String {
    let command = command_for(step);
    let variables = match step {
        Step::Run(invocation) => invocation.environment,
        Step::InstallPackages(_) => NONINTERACTIVE,
        Step::UpdatePackageLists => &[],
    };
    let mut words: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}={}", process::quoted(value))).collect();
    words.push(process::shown(&command));
    words.join(" ")
}

const NONINTERACTIVE: &[(&str, &str)] = &[("DEBIAN_FRONTEND", "noninteractive")];

fn command_for(step: &Step) -> Command {
    match step {
        Step::UpdatePackageLists => apt(&["update"]),
        Step::InstallPackages(packages) => {
            let mut command = apt(&["install", "--yes", "--no-install-recommends"]);
            command.args(packages);
            command
        }
        Step::Run(invocation) => command_of(invocation),
    }
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = process::command("apt-get");
    // Another apt may be at work, as on a machine that has just booted: wait for it, five minutes at most.
    command
        .args(["--quiet", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .envs(NONINTERACTIVE.iter().copied());
    command
}

fn command_of(invocation: &Invocation) -> Command {
    let mut command = process::command(invocation.program);
    // Away from the workspace, whose cargo configuration is not meant for what is installed.
    command.args(invocation.arguments).envs(invocation.environment.iter().copied()).current_dir("/");
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_be_shown_as_it_would_be_typed() {
        let install = Step::InstallPackages(vec!["gcc", "curl"]);
        assert!(
            typed(&install).starts_with("DEBIAN_FRONTEND=noninteractive apt-get "),
            "{}",
            typed(&install)
        );
        assert!(typed(&install).ends_with("install --yes --no-install-recommends gcc curl"));
        let build = Step::Run(Invocation {
            program: "cargo",
            arguments: &["install", "x"],
            environment: &[("RUSTFLAGS", "-L/a -L/b")],
        });
        assert_eq!(typed(&build), "RUSTFLAGS='-L/a -L/b' cargo install x");
    }
}
