//! What is asked of a figure.

use super::number;

/// On which side of a number a figure must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// A figure and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Of what.
    pub what: String,
    /// What is asked.
    pub limit: Limit,
    /// What was measured, if it was.
    pub figure: Option<f64>,
    /// The figure in words, such as with its spread; empty to have the bare number.
    pub remark: String,
    /// The unit of figure and limit, empty for ratios.
    pub unit: &'static str,
}

impl Bar {
    /// Whether the figure is as asked; none where there is none.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        let figure = self.figure?;
        Some(match self.limit {
            Limit::AtMost(most) => figure <= most,
            Limit::AtLeast(least) => figure >= least,
        })
    }

    /// Cells of a table: what, asked, measured, verdict.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let with_unit = |value: f64| format!("{} {}", number(value), self.unit).trim_end().to_owned();
        let asked = match self.limit {
            Limit::AtMost(most) => format!("<= {}", with_unit(most)),
            Limit::AtLeast(least) => format!(">= {}", with_unit(least)),
        };
        let measured = match self.figure {
            Some(figure) if self.remark.is_empty() => with_unit(figure),
            Some(_) => self.remark.clone(),
            None => "-".to_owned(),
        };
        let verdict = match self.is_met() {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "not measured",
        };
        vec![self.what.clone(), asked, measured, verdict.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_not_met_or_not_measured() {
        let bar = |limit, figure| Bar { what: "x".into(), limit, figure, remark: String::new(), unit: "ms" };
        let verdict = |limit, figure| bar(limit, figure).is_met();
        assert_eq!(verdict(Limit::AtMost(1.0), Some(1.0)), Some(true));
        assert_eq!(verdict(Limit::AtMost(1.0), Some(1.1)), Some(false));
        assert_eq!(verdict(Limit::AtLeast(1.0), Some(0.9)), Some(false));
        assert_eq!(verdict(Limit::AtLeast(1.0), None), None);
        assert_eq!(
            bar(Limit::AtMost(10.0), Some(11.5)).cells(),
            ["x", "<= 10.0 ms", "11.5 ms", "**not met**"]
        );
    }
}
