use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::{exit::Exit, globals::Globals, known, print};
use crate::output::{self, Style};

/// Show the agent, its dataplane, services and last transitions on one screen
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl status
  lbctl status -o json | jq .warnings")]
pub(super) struct Status {}

impl Status {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let client = known::client(globals)?;
        let view = known::wait_for(client.status())?.context("failed to ask the agent for its status")?;
        print::text(&output::status(&view, globals.output, Style::for_stdout(), Timestamp::now())?)?;
        Ok(Exit::Done)
    }
}
