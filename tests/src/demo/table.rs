//! The closing table, and whether its figures are what is claimed.

use std::time::Duration;

use crate::traffic::Report;

/// One act and its figures.
pub(super) struct Act {
    /// The fault.
    pub(super) name: &'static str,
    pub(super) claim: Claim,
    /// How many watches were open.
    pub(super) watches: u32,
    /// The master that was hit, if any.
    pub(super) hit: Option<Hit>,
    pub(super) report: Report,
}

/// A fault of a master.
pub(super) struct Hit {
    /// When it began, on the clock of the reports.
    pub(super) moment: i64,
    /// The master's name.
    pub(super) victim: String,
    /// When the fault was ended, on the same clock.
    pub(super) mended: i64,
    /// How long after that the agent called the master up.
    pub(super) back_ms: i64,
}

/// What must hold.
pub(super) enum Claim {
    /// No request failed and no watch ended.
    Untouched {
        /// Whether every master served, which it must.
        all_serve: bool,
    },
    /// Later than this after the fault no request failed and no watch was left with the victim, and no other watch
    /// ended.
    Left {
        /// By the promise of the default settings.
        bound: Duration,
    },
}

/// The head of the table.
const HEAD: [&str; 7] =
    ["fault", "requests", "failed", "last failure", "open watch knew", "back after", "served by"];

/// The table.
pub(super) fn render(acts: &[Act]) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(acts.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 | 6 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let legend = "last failure: how long after the fault the last request that failed was begun; none failed later.\n\
                  open watch knew: how long after the fault the last open connection to that master was over.\n\
                  back after: how long after its end the agent gave that master new connections again.";
    format!("{}\n\n{legend}", rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn row(act: &Act) -> [String; 7] {
    let report = &act.report;
    let shown = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let hit = act.hit.as_ref();
    let last_failure = hit.and_then(|hit| report.last_failure(hit.moment));
    let knew = hit.and_then(|hit| report.ends(&hit.victim, hit.moment).last().copied());
    let served: Vec<String> = report.raw["served"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(master, count)| format!("{master} {count}"))
        .collect();
    [
        act.name.to_owned(),
        (report.ok() + report.failed()).to_string(),
        report.failed().to_string(),
        shown(last_failure),
        shown(knew),
        shown(hit.map(|hit| hit.back_ms)),
        format!("{} ({} of {} watches ended)", served.join(", "), report.broken(), act.watches),
    ]
}

/// What did not turn out as claimed.
pub(super) fn broken_claims(act: &Act) -> Vec<String> {
    let report = &act.report;
    let mut broken = Vec::new();
    let mut claim = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("not as claimed: {}: {what}", act.name));
        }
    };
    claim(report.ok() > 0, "no request succeeded".to_owned());
    match (&act.claim, &act.hit) {
        (Claim::Left { bound }, Some(Hit { moment, victim, mended, .. })) => {
            let bound = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
            let last = report.last_failure(*moment).unwrap_or(0);
            claim(
                last <= bound,
                format!("a request begun {last} ms after the fault failed, bound {bound} ms"),
            );
            let ends = report.ends(victim, *moment);
            let knew = ends.last().copied();
            claim(
                knew.is_some_and(|knew| knew <= bound),
                format!("the watches on {victim} ended after {knew:?} ms, bound {bound} ms"),
            );
            let others = report.broken().saturating_sub(ends.len() as u64);
            claim(others == 0, format!("{others} watches on other masters ended"));
            let served_again = report.last_served(victim, *mended).is_some_and(|at| at > 0);
            claim(served_again, format!("{victim} served no request after its return"));
        }
        (Claim::Untouched { all_serve }, _) => {
            claim(*all_serve, "not every master served".to_owned());
            claim(report.failed() == 0, format!("{} requests failed", report.failed()));
            claim(report.broken() == 0, format!("{} watches ended", report.broken()));
        }
        (Claim::Left { .. }, None) => claim(false, "nobody was hit".to_owned()),
    }
    broken
}
