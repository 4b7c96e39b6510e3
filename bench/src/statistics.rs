//! Percentiles, medians, and how far rounds lie apart.

use serde::{Deserialize, Serialize};

/// Figures of several rounds in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the rounds lie below.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of the rounds' figures; none without rounds.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Self { median: median(&sorted)?, min: *sorted.first()?, max: *sorted.last()? })
    }

    /// Of each round's figure divided by the reference's in the same round. Rounds that one of them lacks, and those in
    /// which the reference is 0, are left out.
    #[must_use]
    pub fn of_ratios(values: &[f64], reference: &[f64]) -> Option<Self> {
        let pairs = values.iter().zip(reference).filter(|(_, reference)| **reference != 0.0);
        Self::of(&pairs.map(|(value, reference)| value / reference).collect::<Vec<_>>())
    }
}

/// The median of rising values: the middle one, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    match middle.checked_sub(1).and_then(|below| sorted.get(below)) {
        Some(lower) if sorted.len().is_multiple_of(2) => Some(lower.midpoint(upper)),
        Some(_) | None => Some(upper),
    }
}

/// The least of rising samples that `percent` of them do not exceed (the nearest rank); none without samples.
#[must_use]
pub fn percentile(sorted: &[u32], percent: f64) -> Option<u32> {
    // At most the number of samples, which a usize holds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The mean; none without values.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let samples: Vec<u32> = (1..=200).collect();
        let read = |percent| percentile(&samples, percent);
        assert_eq!(
            (read(0.0), read(50.0), read(99.0), read(100.0)),
            (Some(1), Some(100), Some(198), Some(200))
        );
        assert_eq!((percentile(&[7], 50.0), percentile(&[], 50.0)), (Some(7), None));
    }

    #[test]
    fn a_median_lies_in_the_middle_whatever_the_order() {
        let spread = Spread::of(&[9.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]).map(|spread| spread.median), Some(3.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // All twice the reference, though the machine was ten times slower in the second round.
        let ratios = Spread::of_ratios(&[2.0, 20.0, 4.0], &[1.0, 10.0, 2.0]);
        assert_eq!(ratios, Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
        assert_eq!(Spread::of_ratios(&[1.0, 5.0], &[1.0]).map(|spread| spread.max), Some(1.0));
    }

    #[test]
    fn a_mean_needs_values() {
        assert_eq!((mean(&[1.0, 3.0]), mean(&[])), (Some(2.0), None));
    }
}
