use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{exit::Exit, globals::Globals, overrides::ConfigArgs, print};
use crate::agent;

/// Show what would be changed in the kernel and the hosts file
///
/// Nothing is changed. Backends that no agent has seen healthy yet count as they would at the agent's start.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl plan
  lbctl plan -c ./new.yaml -o json")]
pub(super) struct Plan {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Serialize)]
struct View {
    kernel: Vec<String>,
    hosts: Vec<String>,
}

impl Plan {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let source = self.config.source(globals);
        let agent::Plan { kernel, hosts } = agent::plan(&source).context("failed to plan")?;
        let view = View { kernel, hosts };
        print::data(globals.output, &view, &text(&view))?;
        Ok(Exit::Done)
    }
}

fn text(view: &View) -> String {
    let mut text = String::new();
    for (title, lines) in [("kernel", &view.kernel), ("hosts file", &view.hosts)] {
        if lines.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{title}:");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    if text.is_empty() { "nothing to change\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_has_a_title() {
        let mut view = View { kernel: vec![], hosts: vec![] };
        assert_eq!(text(&view), "nothing to change\n");
        view.hosts.push("add 10.0.0.1 a".to_owned());
        assert_eq!(text(&view), "hosts file:\n  add 10.0.0.1 a\n");
    }
}
