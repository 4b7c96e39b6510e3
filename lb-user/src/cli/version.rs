use clap::Args;
use lb_common::socket::LAYOUT_VERSION;
use serde::Serialize;

use super::{exit::Exit, globals::Globals, print};

/// The version alone, for `--version`.
pub(super) const TEXT: &str = env!("CARGO_PKG_VERSION");

/// Print the version
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl version
  lbctl version -o json")]
pub(super) struct Version {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    version: &'static str,
    os: &'static str,
    architecture: &'static str,
    /// The layout of what is pinned: agents of the same layout take over from each other without a gap.
    socket_layout: u32,
}

impl Version {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let view = View {
            version: TEXT,
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            socket_layout: LAYOUT_VERSION,
        };
        let View { version, os, architecture, socket_layout } = &view;
        let text = format!("lbctl {version} ({os} {architecture}, socket layout {socket_layout})\n");
        print::data(globals.output, &view, &text)?;
        Ok(Exit::Done)
    }
}
