use std::time::Duration;

/// How long an answer may take before it is missed: twice as long as the slowest of late, within bounds. A backend whose
/// answers always take long is slow, and not silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    least: Duration,
    most: Duration,
    slowest: Duration,
}

impl Patience {
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { least: least.min(most), most, slowest: Duration::ZERO }
    }

    pub(super) fn allowed(&self) -> Duration {
        (self.slowest * 2).clamp(self.least, self.most)
    }

    /// Where there is another sign that something is wrong.
    pub(super) fn in_doubt(&self) -> Duration {
        self.allowed() / 3
    }

    /// Learns of an answer. One that was slow is forgotten bit by bit, a tenth with each that was not.
    pub(super) fn took(&mut self, took: Duration) {
        self.slowest = took.max(self.slowest * 9 / 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn slow_answers_make_patient_and_quick_ones_impatient_again() {
        let mut patience = Patience::new(ms(300), ms(1000));
        patience.took(ms(1));
        assert_eq!(patience.allowed(), ms(300));
        patience.took(ms(400));
        assert_eq!(patience.allowed(), ms(800));
        patience.took(ms(800));
        assert_eq!(patience.allowed(), ms(1000), "a probe may take no longer");
        (0..30).for_each(|_| patience.took(ms(1)));
        assert_eq!(patience.allowed(), ms(300));
        assert_eq!(Patience::new(ms(300), ms(100)).allowed(), ms(100));
    }
}
