//! What lbctl's socket dataplane is held to.

use super::span::{Span, median_and_worst};
use super::{Failover, Fault, Figures};
use crate::bar::Bar;
use crate::contender::Contender;

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

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Time,
    Count,
}

const fn count(value: u64) -> Span {
    // Far fewer than 2^52 requests.
    Span::Ms(value as f64)
}

const RULES: [Rule; 10] = [
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
        worst: Some(1.0),
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

/// Every bar, with what `failover` shows; those of faults that were not measured are left out.
#[must_use]
pub(super) fn check(failover: &Failover) -> Vec<Bar> {
    RULES.iter().filter_map(|rule| rule.check(failover)).collect()
}

impl Rule {
    fn check(&self, failover: &Failover) -> Option<Bar> {
        let figures = failover.figures(Contender::Socket, self.fault);
        let (median, worst) = median_and_worst(figures.into_iter().map(self.quantity))?;
        let most = |limit: Option<f64>, word: &str| {
            limit.map(|limit| format!("{word} <= {}", self.show(Span::Ms(limit))))
        };
        let limits: Vec<String> =
            most(self.median, "median").into_iter().chain(most(self.worst, "worst")).collect();
        let holds = |limit: Option<f64>, span: Span| limit.is_none_or(|limit| span.is_within(limit));
        Some(Bar {
            text: format!("{}: {}", self.what, limits.join(", ")),
            figure: format!("median {}, worst {}", self.show(median), self.show(worst)),
            met: holds(self.median, median) && holds(self.worst, worst),
        })
    }

    fn show(&self, span: Span) -> String {
        match (self.unit, span) {
            (Unit::Count, Span::Ms(count)) => format!("{count:.0}"),
            (Unit::Count | Unit::Time, span) => span.to_string(),
        }
    }
}
