//! The report's section.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figures::{QUIET_MS, SLOW_MS};
use super::span::{Span, median_and_worst};
use super::strike::{PACE_MS, WATCHES};
use super::{Failover, Fault, Figures};
use crate::contender::Contender;

/// A column: its head, and what it shows of all rounds.
type Column = (&'static str, fn(&[&Figures]) -> String);

/// While the fault lasts.
const DURING: [Column; 8] = [
    ("attempts", |all| counts(all, |figures| figures.attempts)),
    ("failed", |all| counts(all, |figures| figures.failed)),
    ("slow", |all| counts(all, |figures| figures.slow)),
    ("last failed or slow began", |all| spans(all, |figures| figures.last_trouble_began)),
    ("the last of them ended", |all| spans(all, |figures| figures.last_trouble_ended)),
    ("longest without an answer", |all| spans(all, |figures| Span::Ms(figures.longest_gap_ms))),
    ("open watches knew: first", |all| spans(all, |figures| figures.watches.first)),
    ("last", |all| spans(all, |figures| figures.watches.last)),
];

/// What the watches and the return add.
const AFTER: [Column; 6] = [
    ("connect() failed", |all| counts(all, |figures| figures.failed_connects)),
    ("victim answered until", |all| spans(all, |figures| figures.last_by_victim)),
    ("watches that never knew", |all| never_knew(all)),
    ("other watches ended", |all| counts(all, |figures| figures.others_ended)),
    ("used again after", |all| spans(all, |figures| figures.back)),
    ("failed, slow by its return", |all| {
        let (failed, slow) = (counts(all, |of| of.failed_on_return), counts(all, |of| of.slow_on_return));
        format!("{failed}, {slow}")
    }),
];

pub(super) fn render(failover: &Failover) -> String {
    let mut text = introduction(failover);
    for fault in Fault::ALL {
        section(&mut text, failover, fault);
    }
    text.push_str(&errors(failover));
    if !failover.missing.is_empty() {
        text.push_str("Not measured:\n\n");
        failover.missing.iter().for_each(|what| line(&mut text, &format!("- {what}")));
        text.push('\n');
    }
    text
}

fn introduction(failover: &Failover) -> String {
    let rounds = failover.runs.iter().map(|run| run.round).max().unwrap_or(0);
    let late = failover.runs.iter().map(|run| run.figures.client_late_ms).fold(0.0, f64::max);
    let omitted: u64 = failover.runs.iter().map(|run| run.figures.omitted).sum();
    format!(
        "A client begins a new TLS connection with one GET every {PACE_MS} ms, whatever became of the earlier ones, with \
         deadlines of 5 s for connect() and 10 s in all; beside it {WATCHES} connections receive a line every 100 ms. Then one \
         of three masters fails; the masters take turns. An attempt is slow after {SLOW_MS} ms. A fault is watched until nothing \
         has gone wrong for {} s and, where it ends connections, every watch of that master has ended; SIGKILL, readyz and \
         shutdown for 12 s at most, power loss and SIGSTOP for 35 s. `>` marks what was not over by then. Times count from the \
         moment before the fault; attempts under way at that moment count too, so that a begin may be negative. Median and, \
         in brackets, worst of {rounds} rounds. The client began an attempt at most {late:.1} ms later than planned and left \
         {omitted} out.\n\n",
        QUIET_MS / 1_000,
    )
}

fn section(text: &mut String, failover: &Failover, fault: Fault) {
    let mut rows: Vec<(Contender, Vec<&Figures>)> = Vec::new();
    for contender in Contender::ALL {
        let figures = failover.figures(contender, fault);
        if !figures.is_empty() {
            rows.push((contender, figures));
        }
    }
    if rows.is_empty() {
        return;
    }
    line(text, &format!("### {}\n", capitalized(fault.name())));
    table(text, &DURING, &rows);
    table(text, &AFTER, &rows);
}

fn table(text: &mut String, columns: &[Column], rows: &[(Contender, Vec<&Figures>)]) {
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    line(text, &format!("| | {} |", heads.join(" | ")));
    line(text, &format!("|---|{}", "---:|".repeat(columns.len())));
    for (contender, figures) in rows {
        let cells: Vec<String> = columns.iter().map(|(_, show)| show(figures)).collect();
        line(text, &format!("| {} | {} |", contender.name(), cells.join(" | ")));
    }
    text.push('\n');
}

fn errors(failover: &Failover) -> String {
    let mut seen: BTreeMap<(Contender, Fault), BTreeMap<&str, u64>> = BTreeMap::new();
    for run in &failover.runs {
        for (error, count) in &run.figures.errors {
            *seen.entry((run.contender, run.fault)).or_default().entry(error).or_default() += count;
        }
    }
    if seen.is_empty() {
        return String::new();
    }
    let mut text = "Errors that clients got, in all rounds:\n\n".to_owned();
    for ((contender, fault), errors) in seen {
        let errors: Vec<String> = errors.iter().map(|(error, count)| format!("{error} {count}")).collect();
        line(&mut text, &format!("- {}, {}: {}", contender.name(), fault.name(), errors.join(", ")));
    }
    text.push('\n');
    text
}

fn counts(all: &[&Figures], of: impl Fn(&Figures) -> u64) -> String {
    let mut counts: Vec<u64> = all.iter().map(|figures| of(figures)).collect();
    counts.sort_unstable();
    match (counts.get(counts.len() / 2), counts.last()) {
        (Some(median), Some(worst)) => format!("{median} ({worst})"),
        _ => String::new(),
    }
}

fn spans(all: &[&Figures], of: impl Fn(&Figures) -> Span) -> String {
    let found = median_and_worst(all.iter().map(|figures| of(figures)));
    found.map_or_else(String::new, |(median, worst)| format!("{median} ({worst})"))
}

/// Of all rounds together.
fn never_knew(all: &[&Figures]) -> String {
    let open: u64 = all.iter().map(|figures| figures.watches.open).sum();
    let ended: u64 = all.iter().map(|figures| figures.watches.ended).sum();
    format!("{} of {open}", open - ended)
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn line(text: &mut String, content: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{content}");
}
