//! The figures as JSON, and the report that is rendered from them: Markdown and SVG.
//!
//! `machine` says where it was measured, `bar` is what is asked of a figure, `plot` draws, `page` puts the sections together.

mod bar;
mod machine;
pub mod markdown;
mod page;
mod plot;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use self::bar::{Bar, Limit};
pub use self::machine::{Machine, Version, versions};
pub use self::plot::{Plot, PlotRow};
use crate::failover::Failover;
use crate::probes::Probes;
use crate::resources::Resources;
use crate::run::Part;
use crate::steady::Steady;

const FIGURES: &str = "results.json";
const PAGE: &str = "README.md";

/// Everything that was measured, in one or several runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Results {
    /// Where the last run was.
    pub machine: Option<Machine>,
    /// What was measured, in that run.
    pub versions: Vec<Version>,
    /// The commands of all runs that have part in this.
    pub commands: BTreeSet<String>,
    /// Parts measured so briefly that their figures mean little.
    pub quick: BTreeSet<Part>,
    /// While nothing fails.
    pub steady: Option<Steady>,
    /// While nothing fails, for a virtual machine on the node.
    pub forwarded: Option<Steady>,
    /// Memory and processor time of the balancers.
    pub resources: Option<Resources>,
    /// What probes cost.
    pub probes: Option<Probes>,
    /// While masters fail.
    pub failover: Option<Failover>,
    /// IPVS in an emulated machine.
    pub ipvs: Option<Steady>,
    /// The same, for a virtual machine on the node.
    pub ipvs_forwarded: Option<Steady>,
}

impl Results {
    /// Reads what is in the directory; nothing is as good as no figures.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FIGURES);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            other => other.with_context(|| format!("read {}", path.display()))?,
        };
        serde_json::from_str(&text)
            .with_context(|| format!("read {} (hint: remove it to begin anew)", path.display()))
    }

    /// Writes the figures, the report and its pictures into the directory.
    ///
    /// # Errors
    /// When one of the files cannot be written.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let json = serde_json::to_string_pretty(self).context("write the figures as JSON")?;
        write(&dir.join(FIGURES), &format!("{json}\n"))?;
        for plot in self.plots() {
            write(&dir.join(&plot.file), &plot.svg()?)?;
        }
        write(&dir.join(PAGE), &self.page())
    }
}

/// Bytes in MiB.
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// With three digits that count, and thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.0 => 0,
        _ => 3,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), ""), |_| ("", plain.as_str()));
    if whole.len() <= 4 { format!("{whole}{rest}") } else { apart(whole) }
}

/// `1234567` as `1,234,567`.
fn apart(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let shown = [0.0, 0.0123, 1.2345, 23.45, 345.6, 4567.8, 34_567.8, 1_234_567.0, -12_345.0].map(number);
        assert_eq!(shown, ["0", "0.012", "1.23", "23.4", "346", "4568", "34,568", "1,234,567", "-12,345"]);
    }
}
