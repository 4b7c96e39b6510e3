//! Slow start: a backend that is back gets its share bit by bit, because its caches are cold and its connections few.

use std::time::{Duration, Instant};

/// In so many steps a weight grows to all of it: each changes what the kernel holds, so there are few.
pub const STEPS: u32 = 10;

/// How far the weight of a backend has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// Which part of [`STEPS`] it has: 1 at first.
    pub step: u32,
    /// When it has one more.
    pub next: Instant,
}

impl Ramp {
    /// Of a backend that was back at `since` and has all of its weight `length` later; `None`: it has.
    pub fn at(now: Instant, since: Instant, length: Duration) -> Option<Self> {
        let pace = (length / STEPS).max(Duration::from_millis(1));
        let passed = now.saturating_duration_since(since).as_nanos() / pace.as_nanos();
        let step = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
        (step < STEPS).then(|| Self { step, next: since + pace * step })
    }
}

/// Weights of backends, some of which are still growing, relative to each other.
pub fn grown(weights: &[(u16, Option<Ramp>)]) -> Vec<u32> {
    let growing = weights.iter().any(|(_, ramp)| ramp.is_some());
    let grown = |(weight, ramp): &(u16, Option<Ramp>)| {
        let step = if growing { ramp.map_or(STEPS, |ramp| ramp.step) } else { 1 };
        u32::from(*weight) * step
    };
    weights.iter().map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    #[test]
    fn a_weight_grows_in_ten_steps_over_the_length() {
        let since = Instant::now();
        let at = |millis| Ramp::at(since + Duration::from_millis(millis), since, LENGTH);
        let step = |n, next| Some(Ramp { step: n, next: since + Duration::from_secs(next) });
        assert_eq!(at(0), step(1, 3));
        assert_eq!(at(2_999), step(1, 3));
        assert_eq!(at(3_000), step(2, 6));
        assert_eq!(at(26_999), step(9, 27));
        assert_eq!(at(27_000), None, "the tenth step is all of it");
        assert_eq!(Ramp::at(since, since, Duration::ZERO).unwrap().step, 1, "and a next one comes");
    }

    #[test]
    fn each_instant_that_is_named_is_the_next_step() {
        let since = Instant::now();
        let mut steps = vec![Ramp::at(since, since, LENGTH).unwrap()];
        while let Some(ramp) = Ramp::at(steps.last().unwrap().next, since, LENGTH) {
            steps.push(ramp);
        }
        assert_eq!(steps.iter().map(|ramp| ramp.step).collect::<Vec<_>>(), (1..STEPS).collect::<Vec<_>>());
    }

    #[test]
    fn weights_are_as_they_are_unless_one_grows() {
        let third = Some(Ramp { step: 3, next: Instant::now() });
        assert_eq!(grown(&[(1, None), (2, None)]), [1, 2]);
        assert_eq!(grown(&[(1, None), (2, third)]), [10, 6]);
        assert_eq!(grown(&[(u16::MAX, None), (u16::MAX, third)]), [655_350, 196_605]);
    }
}
