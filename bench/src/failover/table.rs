//! The report's section.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fault::{LONG, SHORT};
use super::figures::{QUIET_MS, SLOW_MS};
use super::span::{Span, median_and_worst};
use super::strike::{PACE_MS, WATCHES};
use super::{Failover, Fault, Figures, MOST_LATE_MS, Watches, plots};
use crate::contender::Contender;
use crate::report::markdown;

/// A column: its head, and what it shows of all rounds.
type Column = (&'static str, fn(&[&Figures]) -> String);

/// What befalls new connections.
const REQUESTS: [Column; 9] = [
    ("attempts", |all| counts(all, |figures| figures.attempts)),
    ("failed", |all| counts(all, |figures| figures.failed)),
    ("of them in connect()", |all| counts(all, |figures| figures.failed_connects)),
    ("slowest connect()", |all| spans(all, |figures| Span::Ms(figures.slowest_connect_ms))),
    ("slow", |all| counts(all, |figures| figures.slow)),
    ("last failed or slow began", |all| spans(all, |figures| figures.last_trouble_began)),
    ("the last of them ended", |all| spans(all, |figures| figures.last_trouble_ended)),
    ("longest without an answer", |all| spans(all, |figures| Span::Ms(figures.longest_gap_ms))),
    ("victim answered until", |all| spans(all, |figures| figures.last_by_victim)),
];
/// What befalls open ones, where the fault ends them.
const WATCHES_END: [Column; 3] = [
    ("victim's watches knew: first", |all| spans(all, |figures| figures.watches.first)),
    ("last", |all| spans(all, |figures| figures.watches.last)),
    ("never", |all| of_open(all, |watches| watches.open - watches.ended)),
];
/// What befalls open ones, where they could go on.
const WATCHES_GO_ON: [Column; 1] = [("victim's watches ended", |all| of_open(all, |watches| watches.ended))];
/// What befalls the others, and the return of the master.
const AFTERWARDS: [Column; 4] = [
    ("other watches ended", |all| counts(all, |figures| figures.others_ended)),
    ("used again after", |all| spans(all, |figures| figures.back)),
    ("failed by its return", |all| counts(all, |figures| figures.failed_on_return)),
    ("slow by its return", |all| counts(all, |figures| figures.slow_on_return)),
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
        "## When a master fails\n\nA client begins a new TLS connection with one GET every {PACE_MS} ms, whatever became of the earlier ones, with \
         deadlines of 5 s for connect() and 10 s in all, and what is over in less than that pace may be met by none of them; beside it {WATCHES} connections receive a line every 100 ms. Then one \
         of three masters fails; the masters take turns. An attempt is slow after {SLOW_MS} ms. A fault is watched until nothing \
         has gone wrong for {} s and, where it ends connections, every watch of that master has ended; SIGKILL, readyz and \
         shutdown for {} s at most, the others for {} s. `>` marks what was not over by then. Times count from the \
         moment before the fault; attempts under way at that moment count too, so that a begin may be negative. Median and, \
         in brackets, worst of {rounds} rounds; of watches that never knew, the sum. The client began an attempt at most {late:.1} ms later than planned and left \
         {omitted} out; {} runs were done again because it was more than {MOST_LATE_MS:.0} ms late.\n\n",
        QUIET_MS / 1_000,
        SHORT.as_secs(),
        LONG.as_secs(),
        failover.repeated,
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
    for file in plots::files(fault) {
        line(text, &format!("![{}]({file})\n", fault.name()));
    }
    let watches = if fault.ends_watches() { &WATCHES_END[..] } else { &WATCHES_GO_ON };
    line(text, &table(&REQUESTS, &rows));
    line(text, &table(&[watches, &AFTERWARDS].concat(), &rows));
}

fn table(columns: &[Column], rows: &[(Contender, Vec<&Figures>)]) -> String {
    let head: Vec<&str> = [""].into_iter().chain(columns.iter().map(|(head, _)| *head)).collect();
    let row = |(contender, figures): &(Contender, Vec<&Figures>)| {
        let cells = columns.iter().map(|(_, show)| show(figures));
        [contender.name().to_owned()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    markdown::table(&head, &rows)
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
fn of_open(all: &[&Figures], of: impl Fn(&Watches) -> u64) -> String {
    let open: u64 = all.iter().map(|figures| figures.watches.open).sum();
    let counted: u64 = all.iter().map(|figures| of(&figures.watches)).sum();
    format!("{counted} of {open}")
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn line(text: &mut String, content: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{content}");
}
