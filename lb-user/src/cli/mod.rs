//! The command line: one file per command, with its clap struct and its `run()`.

mod backends;
mod care;
mod check;
mod cleanup;
mod completion;
mod connections;
mod doctor;
pub mod exit;
mod globals;
mod hosts;
mod known;
mod logging;
mod manifest;
mod overrides;
mod plan;
mod print;
mod progress;
mod prove;
mod run;
pub mod source;
mod status;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::{exit::Exit, globals::Globals, logging::LogLevel};

/// One virtual address for all apiservers, inside this node's own kernel
#[derive(Debug, Parser)]
#[command(
    name = "lbctl",
    version = version::TEXT,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 110,
    after_help = "\
Examples:
  lbctl run --vip 10.103.97.2:6443 --backend 192.168.0.2:6443 --backend 192.168.0.3:6443
  lbctl backends
  lbctl backends drain 192.168.0.2:6443

Every flag with a value can also be given in the environment: --log-level as LBCTL_LOG_LEVEL. \
A flag wins over the environment, the environment over the config file.

Exit codes: 0 done; 1 failed; 2 wrong usage or config; 3 no healthy backend; 4 \
the kernel or the host lacks something; 5 no permission."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Backends(backends::Backends),
    Connections(connections::Connections),
    Status(status::Status),
    Check(check::Check),
    Plan(plan::Plan),
    Hosts(hosts::Hosts),
    Manifest(manifest::Manifest),
    Doctor(doctor::Doctor),
    Cleanup(cleanup::Cleanup),
    Care(care::Care),
    Completion(completion::Completion),
    Version(version::Version),
    InternalProve(prove::Prove),
}

/// Does what the command line says; errors go to stderr.
pub fn main() -> ExitCode {
    let Cli { command, globals } = Cli::parse();
    logging::init(command.log_level(globals.log_level), globals.log_format);
    let code = command.run(&globals).map_or_else(
        |error| {
            print::error(&error);
            exit::code_of(&error)
        },
        Exit::code,
    );
    ExitCode::from(code)
}

impl Command {
    /// What is logged where this was asked for.
    fn log_level(&self, asked: LogLevel) -> LogLevel {
        if let Self::Care(command) = self { command.log_level(asked) } else { asked }
    }

    fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self {
            Self::Run(command) => command.run(globals),
            Self::Backends(command) => command.run(globals),
            Self::Connections(command) => command.run(globals),
            Self::Status(command) => command.run(globals),
            Self::Check(command) => command.run(globals),
            Self::Plan(command) => command.run(globals),
            Self::Hosts(command) => command.run(globals),
            Self::Manifest(command) => command.run(globals),
            Self::Doctor(command) => command.run(globals),
            Self::Cleanup(command) => command.run(globals),
            Self::Care(command) => command.run(globals),
            Self::Completion(command) => command.run(),
            Self::Version(command) => command.run(globals),
            Self::InternalProve(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_flags_have_one_name() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_with_a_value_has_its_name_in_the_environment() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
                let Some(long) = arg.get_long() else { continue };
                // lvscare's flags have lvscare's names there too, so that its pods need no other environment.
                let ours = !(command.get_name() == "care" && care::LVSCARE_FLAGS.contains(&long));
                let prefix = if ours { "LBCTL" } else { "CARE" };
                let wanted = format!("{prefix}_{}", long.to_uppercase().replace('-', "_"));
                // LBCTL_TIMEOUT is a probe's, LBCTL_BACKEND the agent's list: who sets them for it must not bound a drain or
                // choose connections with them.
                let is_the_agents =
                    matches!((command.get_name(), long), ("drain", "timeout") | ("connections", "backend"));
                let wanted = (!is_the_agents).then_some(wanted.as_str());
                assert_eq!(arg.get_env().and_then(|env| env.to_str()), wanted, "--{long}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("lbctl {}", command.get_name())), "{}", command.get_name());
        }
    }
}
