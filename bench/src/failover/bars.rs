//! What lbctl's socket dataplane is held to.

use super::span::{Span, median_and_worst};
use super::{Failover, Fault, Figures};
use crate::contender::Contender;
use crate::report::{Bar, Limit};

/// What is compared, of each round.
type Quantity = fn(&Figures) -> Span;

/// A bar as data. Times are milliseconds.
struct Rule {
    fault: Fault,
    what: &'static str,
    quantity: Quantity,
    /// What the median must not exceed.
    median: Option<f64>,
    /// What no round may exceed.
    worst: Option<f64>,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Time,
    Count,
}

const fn count(value: u64) -> Span {
    // Far fewer than 2^52 requests.
    Span::Ms(value as f64)
}

const RULES: [Rule; 16] = [
    Rule {
        fault: Fault::Kill,
        what: "SIGKILL: begin of the last attempt that fails",
        quantity: |figures| figures.last_trouble_began,
        median: Some(10.0),
        worst: Some(50.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::Kill,
        what: "SIGKILL: failed connects",
        quantity: |figures| count(figures.failed_connects),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
    Rule {
        fault: Fault::Kill,
        what: "SIGKILL: the slowest connect",
        quantity: |figures| Span::Ms(figures.slowest_connect_ms),
        median: None,
        worst: Some(800.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::PowerLoss,
        what: "power loss: failed connects",
        quantity: |figures| count(figures.failed_connects),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
    Rule {
        fault: Fault::PowerLoss,
        what: "power loss: the slowest connect",
        quantity: |figures| Span::Ms(figures.slowest_connect_ms),
        median: None,
        worst: Some(800.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::Reject,
        what: "REJECT: failed connects",
        quantity: |figures| count(figures.failed_connects),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
    Rule {
        fault: Fault::Reject,
        what: "REJECT: the slowest connect",
        quantity: |figures| Span::Ms(figures.slowest_connect_ms),
        median: None,
        worst: Some(800.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::Hang,
        what: "SIGSTOP: failed connects",
        quantity: |figures| count(figures.failed_connects),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
    Rule {
        fault: Fault::Kill,
        what: "SIGKILL: the last open watch knows",
        quantity: |figures| figures.watches.last,
        median: None,
        worst: Some(20.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::PowerLoss,
        what: "power loss: begin of the last failed or slow attempt",
        quantity: |figures| figures.last_trouble_began,
        median: Some(800.0),
        worst: Some(1_500.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::PowerLoss,
        what: "power loss: the last open watch is reset",
        quantity: |figures| figures.watches.last,
        median: None,
        worst: Some(2_000.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::Hang,
        what: "SIGSTOP: begin of the last failed or slow attempt",
        quantity: |figures| figures.last_trouble_began,
        median: Some(900.0),
        worst: Some(1_500.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::Hang,
        what: "SIGSTOP: the last open watch is reset (deadAfter and 1 s)",
        quantity: |figures| figures.watches.last,
        median: None,
        worst: Some(5_000.0),
        unit: Unit::Time,
    },
    Rule {
        fault: Fault::NotReady,
        what: "readyz fails while serving: failed requests",
        quantity: |figures| count(figures.failed),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
    Rule {
        fault: Fault::Shutdown,
        what: "graceful shutdown: failed requests",
        quantity: |figures| count(figures.failed),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
    Rule {
        fault: Fault::Kill,
        what: "return of the killed master: failed requests",
        quantity: |figures| count(figures.failed_on_return),
        median: None,
        worst: Some(0.0),
        unit: Unit::Count,
    },
];

/// Every bar, with what `failover` shows.
#[must_use]
pub(super) fn check(failover: &Failover) -> Vec<Bar> {
    RULES.iter().flat_map(|rule| rule.check(failover)).collect()
}

impl Rule {
    fn check(&self, failover: &Failover) -> Vec<Bar> {
        let figures = failover.figures(Contender::Socket, self.fault);
        let seen = median_and_worst(figures.into_iter().map(self.quantity)).unzip();
        let asked = [("median", self.median, seen.0), ("worst", self.worst, seen.1)];
        let bar = |(word, limit, span): (&str, Option<f64>, Option<Span>)| {
            Some(Bar {
                what: format!("lbctl socket: {}, {word}", self.what),
                limit: Limit::AtMost(limit?),
                figure: span.map(Span::bound),
                remark: span.map_or_else(String::new, |span| self.show(span)),
                unit: self.unit.name(),
            })
        };
        asked.into_iter().filter_map(bar).collect()
    }

    fn show(&self, span: Span) -> String {
        match (self.unit, span) {
            (Unit::Count, Span::Ms(count)) => format!("{count:.0}"),
            (Unit::Time, Span::Never) => "none".to_owned(),
            (Unit::Count | Unit::Time, span) => span.to_string(),
        }
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Time => "ms",
            Self::Count => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Run;

    #[test]
    fn what_did_not_end_meets_no_bar_and_what_was_not_measured_none_either() {
        let run = |last_trouble_began| Run {
            contender: Contender::Socket,
            fault: Fault::PowerLoss,
            round: 1,
            victim: 0,
            figures: Figures { last_trouble_began, ..Figures::default() },
        };
        let runs = [Span::Ms(400.0), Span::Never, Span::Beyond(35_000.0)].map(run).to_vec();
        let bars = check(&Failover { runs, ..Failover::default() });
        let verdict = |what: &str| {
            bars.iter().find(|bar| bar.what.contains(what)).map(|bar| (bar.is_met(), bar.remark.as_str()))
        };
        let begun = "power loss: begin of the last failed or slow attempt";
        assert_eq!(verdict(&format!("{begun}, median")), Some((Some(true), "400 ms")));
        assert_eq!(verdict(&format!("{begun}, worst")), Some((Some(false), "> 35.0 s")));
        assert_eq!(verdict("SIGSTOP: begin"), Some((None, "")));
    }
}
