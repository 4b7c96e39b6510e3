//! From what one client saw to what one fault did.

use std::collections::BTreeMap;

use lb_tests::pace::{Attempt, End, Report, Watched};
use serde::{Deserialize, Serialize};

use super::span::Span;

/// An attempt that takes longer has been held up. In a quiet moment the slowest of a hundred takes some 10 to 25 ms on a
/// small machine; ten times that is no chance, and what a person notices.
pub const SLOW_MS: u64 = 250;
/// So long without a failed or slow attempt, and the fault is over for clients.
pub const QUIET_MS: u64 = 3_000;

/// When what was done, in microseconds on the clock of the client's report.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Just before the fault.
    pub fault_us: u64,
    /// Just before its end.
    pub mended_us: u64,
}

/// What one fault did to the clients of one balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// How long the fault was watched before it was ended, ms.
    pub window_ms: f64,
    /// Attempts that were under way at the fault, or began between it and its end.
    pub attempts: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them whose connect() failed.
    pub failed_connects: u64,
    /// The longest connect() of them that succeeded, ms.
    #[serde(default)]
    pub slowest_connect_ms: f64,
    /// Those of them that took longer than [`SLOW_MS`], failed or not.
    pub slow: u64,
    /// Begin of the last one that failed or was slow.
    pub last_trouble_began: Span,
    /// End of the one of them that ended last.
    pub last_trouble_ended: Span,
    /// Longest time without an answer to any attempt, ms.
    pub longest_gap_ms: f64,
    /// Begin of the last attempt that the victim answered while the fault lasted.
    pub last_by_victim: Span,
    /// The watches on the victim.
    pub watches: Watches,
    /// Watches on other masters that ended before the fault did.
    pub others_ended: u64,
    /// Begin of the first attempt that the victim answered after the end of the fault, in ms after that.
    pub back: Span,
    /// Attempts begun after the end of the fault that failed.
    pub failed_on_return: u64,
    /// Attempts begun after the end of the fault that were slow.
    pub slow_on_return: u64,
    /// Errors of attempts by name, from the fault on.
    pub errors: BTreeMap<String, u64>,
    /// How much later than planned the client began an attempt, at worst, ms: what the machine adds by itself.
    pub client_late_ms: f64,
    /// Attempts that could not begin because too many were under way.
    pub omitted: u64,
}

/// What the watches on the victim noticed while the fault lasted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watches {
    /// How many were open at the fault.
    pub open: u64,
    /// How many of them ended before the fault did.
    pub ended: u64,
    /// When the first of them noticed.
    pub first: Span,
    /// When the last of them noticed: `Beyond` where one did not.
    pub last: Span,
}

impl Figures {
    /// Of a fault of `victim`.
    #[must_use]
    pub fn new(report: &Report, moments: Moments, victim: &str) -> Self {
        let at = Clock(moments);
        let all = &report.attempts;
        let met: Vec<&Attempt> = all
            .iter()
            .filter(|attempt| attempt.end_us() >= moments.fault_us && attempt.begin_us < moments.mended_us)
            .collect();
        let after: Vec<&Attempt> =
            all.iter().filter(|attempt| attempt.begin_us >= moments.mended_us).collect();
        let trouble: Vec<&Attempt> =
            met.iter().copied().filter(|attempt| attempt.is_trouble(SLOW_MS * 1_000)).collect();
        let by_victim = |attempt: &&&Attempt| matches!(&attempt.end, End::Served(by) if by == victim);
        Self {
            window_ms: at.window_ms(),
            attempts: count(&met, |_| true),
            failed: count(&met, has_failed),
            failed_connects: count(&met, |attempt| has_failed(attempt) && attempt.connect_us.is_none()),
            slowest_connect_ms: met
                .iter()
                .filter_map(|attempt| attempt.connect_us)
                .max()
                .map_or(0.0, |longest_us| milliseconds(longest_us, 0)),
            slow: count(&met, is_slow),
            last_trouble_began: at.last_trouble(&trouble),
            last_trouble_ended: at.span(trouble.iter().map(|attempt| attempt.end_us()).max()),
            longest_gap_ms: at.longest_gap_ms(&met),
            last_by_victim: at.span(
                met.iter()
                    .filter(|attempt| attempt.end_us() < moments.mended_us)
                    .rfind(by_victim)
                    .map(|attempt| attempt.begin_us),
            ),
            watches: at.watches(&report.watches, victim),
            others_ended: at.others_ended(&report.watches, victim),
            back: after.iter().find(by_victim).map_or(at.never_back(report), |attempt| {
                Span::Ms(milliseconds(attempt.begin_us, moments.mended_us))
            }),
            failed_on_return: count(&after, has_failed),
            slow_on_return: count(&after, is_slow),
            errors: errors(met.iter().chain(&after)),
            client_late_ms: milliseconds(report.latest_us, 0),
            omitted: report.omitted,
        }
    }
}

fn has_failed(attempt: &Attempt) -> bool {
    matches!(attempt.end, End::Failed(_))
}

fn is_slow(attempt: &Attempt) -> bool {
    attempt.took_us > SLOW_MS * 1_000
}

fn count(attempts: &[&Attempt], counts: impl Fn(&Attempt) -> bool) -> u64 {
    attempts.iter().filter(|attempt| counts(attempt)).count() as u64
}

fn errors<'a>(attempts: impl Iterator<Item = &'a &'a Attempt>) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for attempt in attempts {
        if let End::Failed(error) = &attempt.end {
            *errors.entry(error.clone()).or_default() += 1;
        }
    }
    errors
}

/// From the later to the earlier, negative the other way round.
fn milliseconds(later_us: u64, earlier_us: u64) -> f64 {
    let signed = |us| i64::try_from(us).unwrap_or(i64::MAX);
    (signed(later_us) - signed(earlier_us)) as f64 / 1_000.0
}

/// Times as seen from the fault.
struct Clock(Moments);

impl Clock {
    fn window_ms(&self) -> f64 {
        milliseconds(self.0.mended_us, self.0.fault_us)
    }

    /// What lies beyond the fault's end was not over in the time watched.
    fn span(&self, at_us: Option<u64>) -> Span {
        match at_us {
            None => Span::Never,
            Some(at_us) if at_us >= self.0.mended_us => Span::Beyond(self.window_ms()),
            Some(at_us) => Span::Ms(milliseconds(at_us, self.0.fault_us)),
        }
    }

    /// Trouble that began shortly before the fault's end may have gone on without it.
    fn last_trouble(&self, trouble: &[&Attempt]) -> Span {
        let last_us = trouble.iter().map(|attempt| attempt.begin_us).max();
        match last_us {
            Some(last_us) if last_us + QUIET_MS * 1_000 > self.0.mended_us => Span::Beyond(self.window_ms()),
            last_us => self.span(last_us),
        }
    }

    fn longest_gap_ms(&self, met: &[&Attempt]) -> f64 {
        let Moments { fault_us, mended_us } = self.0;
        let answered = met.iter().filter(|attempt| matches!(attempt.end, End::Served(_)));
        let within =
            answered.map(|attempt| attempt.end_us()).filter(|end| (fault_us..mended_us).contains(end));
        let mut moments: Vec<u64> = within.chain([fault_us, mended_us]).collect();
        moments.sort_unstable();
        moments.windows(2).map(|pair| milliseconds(pair[1], pair[0])).fold(0.0, f64::max)
    }

    /// Those of the victim's that were open at the fault: when each ended, if it did.
    fn watches(&self, all: &[Watched], victim: &str) -> Watches {
        let Moments { fault_us, mended_us } = self.0;
        let of_victim = all.iter().filter(|watch| watch.server.as_deref() == Some(victim));
        let ends_us = of_victim.map(|watch| watch.ended.as_ref().map(|(at_us, _)| *at_us));
        let ends_us: Vec<Option<u64>> = ends_us.filter(|end| end.is_none_or(|at| at >= fault_us)).collect();
        let noticed: Vec<u64> = ends_us.iter().flatten().copied().filter(|at| *at < mended_us).collect();
        let all_noticed = noticed.len() == ends_us.len();
        Watches {
            open: ends_us.len() as u64,
            ended: noticed.len() as u64,
            first: self.span(noticed.iter().min().copied()),
            last: if all_noticed {
                self.span(noticed.iter().max().copied())
            } else {
                Span::Beyond(self.window_ms())
            },
        }
    }

    fn others_ended(&self, all: &[Watched], victim: &str) -> u64 {
        let others =
            all.iter().filter(|watch| watch.server.as_deref().is_some_and(|server| server != victim));
        let ends_us = others.filter_map(|watch| watch.ended.as_ref().map(|(at_us, _)| *at_us));
        ends_us.filter(|at| (self.0.fault_us..self.0.mended_us).contains(at)).count() as u64
    }

    /// For a victim that answered nothing until the client ended.
    fn never_back(&self, report: &Report) -> Span {
        let last_us = report.attempts.last().map_or(self.0.mended_us, |attempt| attempt.begin_us);
        Span::Beyond(milliseconds(last_us.max(self.0.mended_us), self.0.mended_us))
    }
}

impl Figures {
    /// The most telling of them, for a line of progress.
    #[must_use]
    pub fn line(&self) -> String {
        let Watches { open, ended, last, .. } = &self.watches;
        format!(
            "{} requests, {} failed, {} slow, last begun {}; {ended} of {open} watches ended, last {last}; back after {}",
            self.attempts, self.failed, self.slow, self.last_trouble_began, self.back
        )
    }
}
