//! Times that may not have ended within what was watched.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How long after the fault something happened for the last time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Span {
    /// It did not happen.
    #[default]
    Never,
    /// It happened; just before the fault, where the number is negative.
    Ms(f64),
    /// It went on for longer than this, when the watching ended.
    Beyond(f64),
}

impl Span {
    /// Milliseconds that it surely did not outlast: none for what never happened, without bound for what did not end.
    #[must_use]
    pub fn bound(self) -> f64 {
        match self {
            Self::Never => 0.0,
            Self::Ms(value) => value,
            Self::Beyond(_) => f64::INFINITY,
        }
    }

    /// Milliseconds for as long as it was watched.
    #[must_use]
    pub fn watched(self) -> f64 {
        match self {
            Self::Never => 0.0,
            Self::Ms(value) | Self::Beyond(value) => value,
        }
    }

    /// Nothing before something, and what did not end last.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let rank = |span: &Self| match span {
            Self::Never => 0,
            Self::Ms(_) => 1,
            Self::Beyond(_) => 2,
        };
        rank(self).cmp(&rank(other)).then(self.watched().total_cmp(&other.watched()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Never => "-".to_owned(),
            Self::Ms(value) => time(*value),
            Self::Beyond(value) => format!("> {}", time(*value)),
        };
        formatter.pad(&text)
    }
}

/// `3.4 ms`, `120 ms`, `1.22 s`.
fn time(ms: f64) -> String {
    match ms.abs() {
        size if size < 10.0 => format!("{ms:.1} ms"),
        size if size < 1_000.0 => format!("{ms:.0} ms"),
        size if size < 10_000.0 => format!("{:.2} s", ms / 1_000.0),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

/// The one in the middle, the later of two, and the last. `None` of nothing.
#[must_use]
pub fn median_and_worst(spans: impl IntoIterator<Item = Span>) -> Option<(Span, Span)> {
    let mut spans: Vec<Span> = spans.into_iter().collect();
    spans.sort_by(Span::compare);
    Some((*spans.get(spans.len() / 2)?, *spans.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_end_is_the_worst_and_within_nothing() {
        let spans = [Span::Beyond(35_000.0), Span::Never, Span::Ms(40_000.0)];
        assert_eq!(median_and_worst(spans), Some((Span::Ms(40_000.0), Span::Beyond(35_000.0))));
        assert!(Span::Beyond(5.0).bound() > 1e9);
        assert_eq!(median_and_worst([]), None);
    }

    #[test]
    fn is_shown_in_the_unit_that_fits() {
        let shown = [
            (Span::Never, "-"),
            (Span::Ms(-2.31), "-2.3 ms"),
            (Span::Ms(47.2), "47 ms"),
            (Span::Ms(1_224.0), "1.22 s"),
            (Span::Beyond(35_000.0), "> 35.0 s"),
        ];
        for (span, text) in shown {
            assert_eq!(span.to_string(), text);
        }
    }
}
