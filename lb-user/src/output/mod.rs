//! What `-o table|wide|json|yaml` prints, as text. Nothing here writes, and time is an argument.

mod backends;
mod connections;
mod doctor;
mod human;
mod status;
mod table;

use std::io::IsTerminal as _;

use clap::ValueEnum;
use jiff::Timestamp;
use lb_core::{
    doctor::Report,
    view::{BackendsView, StatusView, connections::ConnectionTableView},
};
use serde::Serialize;

pub(crate) use backends::{probe, yes_no};
pub(crate) use human::{age, latency, printable};

/// The value of `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// The table with every column.
    Wide,
    /// JSON, for scripts: keys are stable.
    Json,
    /// The same keys as YAML.
    Yaml,
}

/// Whether text may carry escape sequences for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Health and errors are coloured.
    pub colour: bool,
}

impl Style {
    /// No escape sequences at all.
    pub const PLAIN: Self = Self { colour: false };

    /// What suits the process's standard output: colours only on a terminal, and not where `NO_COLOR` is set to
    /// anything but the empty string (no-color.org).
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { colour: !refused && std::io::stdout().is_terminal() }
    }
}

/// Why a view could not be written down: a path in it is not UTF-8.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// As JSON.
    #[error("failed to write the view as JSON")]
    Json(#[from] serde_json::Error),
    /// As YAML.
    #[error("failed to write the view as YAML")]
    Yaml(#[from] serde_yaml::Error),
}

/// What `lbctl backends` prints, with a newline at the end. Ages are relative to `now`.
pub fn backends(
    view: &BackendsView,
    format: Format,
    style: Style,
    now: Timestamp,
) -> Result<String, OutputError> {
    match format {
        Format::Table => Ok(backends::table(&view.services, backends::Columns::Few, style, now)),
        Format::Wide => Ok(backends::table(&view.services, backends::Columns::All, style, now)),
        Format::Json => json(view),
        Format::Yaml => Ok(serde_yaml::to_string(view)?),
    }
}

/// What `lbctl status` prints, with a newline at the end. Ages are relative to `now`.
pub fn status(
    view: &StatusView,
    format: Format,
    style: Style,
    now: Timestamp,
) -> Result<String, OutputError> {
    match format {
        Format::Table => Ok(status::screen(view, backends::Columns::Few, style, now)),
        Format::Wide => Ok(status::screen(view, backends::Columns::All, style, now)),
        Format::Json => json(view),
        Format::Yaml => Ok(serde_yaml::to_string(view)?),
    }
}

/// Whether each connection gets a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// It does.
    All,
    /// There are only the numbers.
    None,
}

/// What `lbctl connections` prints, with a newline at the end.
pub fn connections(
    view: &ConnectionTableView,
    rows: Rows,
    format: Format,
    style: Style,
) -> Result<String, OutputError> {
    match format {
        Format::Table => Ok(connections::screen(view, rows, backends::Columns::Few, style)),
        Format::Wide => Ok(connections::screen(view, rows, backends::Columns::All, style)),
        Format::Json => json(view),
        Format::Yaml => Ok(serde_yaml::to_string(view)?),
    }
}

/// What `lbctl doctor` prints, with a newline at the end.
pub fn doctor(report: &Report, format: Format, style: Style) -> Result<String, OutputError> {
    match format {
        Format::Table | Format::Wide => Ok(doctor::screen(report, style)),
        Format::Json => json(report),
        Format::Yaml => Ok(serde_yaml::to_string(report)?),
    }
}

fn json(view: &impl Serialize) -> Result<String, OutputError> {
    let mut text = serde_json::to_string_pretty(view)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
