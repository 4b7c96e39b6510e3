use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{generate, shells};

use super::{Cli, exit::Exit, print};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl completion bash > /etc/bash_completion.d/lbctl
  lbctl completion zsh > /usr/local/share/zsh/site-functions/_lbctl
  lbctl completion fish > ~/.config/fish/completions/lbctl.fish")]
pub(super) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let mut command = Cli::command();
        let mut script = Vec::new();
        match self.shell {
            Shell::Bash => generate(shells::Bash, &mut command, "lbctl", &mut script),
            Shell::Zsh => generate(shells::Zsh, &mut command, "lbctl", &mut script),
            Shell::Fish => generate(shells::Fish, &mut command, "lbctl", &mut script),
        }
        print::text(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
