use anyhow::Context as _;
use clap::{Args, ValueEnum};
use lb_core::{
    config::Config,
    hosts::{self, Entry, ForeignLine},
};
use serde::Serialize;

use super::{exit::Exit, globals::Globals, known::Known, overrides::ConfigArgs, print};
use crate::os::hosts::{HostsFile, How, Outcome};

/// Show, write or remove the hosts file's entry alone
///
/// show exits with 1 when the entry is not in place. A running agent puts it back after remove, unless hosts.manage
/// is false.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl hosts show
  lbctl hosts apply --vip 10.103.97.2:6443 --backend 192.168.0.2:6443 --hostname apiserver.cluster.local
  lbctl hosts remove")]
pub(super) struct Hosts {
    /// What to do
    action: Action,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    /// Say whether the entry is in place, and why not
    Show,
    /// Put the entry in place
    Apply,
    /// Take everything of lbctl's out of the file
    Remove,
}

impl Hosts {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let source = self.config.source(globals);
        match self.action {
            Action::Show => show(&source.load().context("failed to show the hosts entry")?, globals),
            Action::Apply => apply(&source.load().context("failed to apply the hosts entry")?, globals),
            Action::Remove => {
                let known = Known::find(globals.config.as_deref(), source.overrides)?;
                remove(&HostsFile::new(known.paths.hosts), globals)
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateView {
    path: String,
    in_place: bool,
    reason: Option<String>,
    entries: Vec<EntryView>,
}

#[derive(Serialize)]
struct EntryView {
    address: String,
    hostname: String,
}

#[derive(Serialize)]
struct ChangeView {
    path: String,
    changed: bool,
}

fn show(config: &Config, globals: &Globals) -> anyhow::Result<Exit> {
    let (file, wanted) = (HostsFile::new(&config.hosts.path), config.hosts_entries());
    let content = file.read().context("failed to show the hosts entry")?;
    let status = hosts::inspect(content.as_deref().unwrap_or_default(), &wanted)
        .context("failed to show the hosts entry")?;
    let reason = match content {
        None if !wanted.is_empty() => Some("the file does not exist".to_owned()),
        None | Some(_) => why_not(&status),
    };
    let path = file.path().display();
    let mut text = match &reason {
        None => format!("{path}: in place\n"),
        Some(reason) => format!("{path}: not in place: {reason}\n"),
    };
    if wanted.is_empty() {
        text.push_str("no service has a hostname: no entry is wanted\n");
    }
    text.extend(wanted.iter().map(|entry| format!("{} {}\n", entry.address, entry.hostname)));
    let exit = if reason.is_none() { Exit::Done } else { Exit::Failed };
    let entry = |e: Entry| EntryView { address: e.address.to_string(), hostname: e.hostname };
    let view = StateView {
        path: path.to_string(),
        in_place: reason.is_none(),
        reason,
        entries: wanted.into_iter().map(entry).collect(),
    };
    print::data(globals.output, &view, &text)?;
    Ok(exit)
}

fn why_not(status: &hosts::Status) -> Option<String> {
    match status {
        hosts::Status::InPlace => None,
        hosts::Status::Missing => Some("there is no entry".to_owned()),
        hosts::Status::Differs => Some("the entry is another one, or damaged".to_owned()),
        hosts::Status::Shadowed { by } => {
            let lines = by.iter().map(|ForeignLine { number, text }| format!("line {number}: {text}"));
            Some(format!("other lines map the name too: {}", lines.collect::<Vec<_>>().join("; ")))
        }
    }
}

fn apply(config: &Config, globals: &Globals) -> anyhow::Result<Exit> {
    let file = HostsFile::new(&config.hosts.path);
    let outcome = file.apply(&config.hosts_entries()).context("failed to apply the hosts entry")?;
    report(&file, outcome, "already in place", "entry written", globals)
}

fn remove(file: &HostsFile, globals: &Globals) -> anyhow::Result<Exit> {
    let outcome = file.remove().context("failed to remove the hosts entry")?;
    report(file, outcome, "no entry to remove", "entry removed", globals)
}

fn report(
    file: &HostsFile,
    outcome: Outcome,
    unchanged: &str,
    changed: &str,
    globals: &Globals,
) -> anyhow::Result<Exit> {
    let what = match outcome {
        Outcome::Unchanged => unchanged.to_owned(),
        Outcome::Written(How::Renamed) => changed.to_owned(),
        Outcome::Written(How::InPlace) => format!("{changed}, in place because the file cannot be replaced"),
        Outcome::Written(How::Deleted) => format!("{changed}, and the file, which lbctl had made"),
    };
    let path = file.path().display().to_string();
    let text = format!("{path}: {what}\n");
    print::data(globals.output, &ChangeView { path, changed: outcome != Outcome::Unchanged }, &text)?;
    Ok(Exit::Done)
}
