use std::{fmt, str::FromStr, time::Duration};

/// A span of time as the config file writes it: one whole number and one unit, such as `500ms`, `2s`, `1m` or
/// `1h`.
///
/// `Display` writes the largest unit that leaves a whole number, and parses back to the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration {
    millis: u64,
}

/// Why a text is not a [`ConfigDuration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No unit after the number.
    #[error("{number:?} has no unit")]
    NoUnit {
        /// The text, all digits.
        number: String,
    },
    /// A minus sign.
    #[error("{text:?} is negative")]
    Negative {
        /// The text.
        text: String,
    },
    /// Something else than digits and one of the units.
    #[error("{text:?} is not a duration")]
    Malformed {
        /// The text.
        text: String,
    },
    /// More milliseconds than 64 bits hold.
    #[error("{text:?} is too long")]
    Overflow {
        /// The text.
        text: String,
    },
}

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl ConfigDuration {
    /// The time that it stands for.
    pub fn get(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

impl From<Duration> for ConfigDuration {
    /// Whole milliseconds; what is below one is cut off.
    fn from(d: Duration) -> Self {
        Self { millis: u64::try_from(d.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl DurationError {
    /// How to write it instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NoUnit { number } => format!("write {number}s or {number}ms"),
            Self::Negative { .. } | Self::Malformed { .. } | Self::Overflow { .. } => {
                "write one whole number and one of the units ms, s, m, h, such as 500ms or 2s".to_owned()
            }
        }
    }
}

impl FromStr for ConfigDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let text_owned = || text.to_owned();
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        if number.is_empty() {
            return Err(match unit.strip_prefix('-') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
                    DurationError::Negative { text: text_owned() }
                }
                Some(_) | None => DurationError::Malformed { text: text_owned() },
            });
        }
        if unit.is_empty() {
            return Err(DurationError::NoUnit { number: text_owned() });
        }
        let Some((_, scale)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::Malformed { text: text_owned() });
        };
        // The digits are checked above, so parsing fails only on overflow.
        let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale));
        millis.map(|millis| Self { millis }).ok_or_else(|| DurationError::Overflow { text: text_owned() })
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.pad("0s");
        }
        let whole = |(_, scale): &(&str, u64)| self.millis.is_multiple_of(*scale);
        let (unit, scale) = UNITS.into_iter().find(whole).unwrap_or(("ms", 1));
        f.pad(&format!("{}{unit}", self.millis / scale))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_and_a_unit_is_a_duration() {
        for (text, millis) in
            [("500ms", 500), ("2s", 2_000), ("1m", 60_000), ("1h", 3_600_000), ("0s", 0), ("007ms", 7)]
        {
            assert_eq!(
                text.parse::<ConfigDuration>().unwrap().get(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_remedy() {
        for (text, message, hint) in [
            ("2", "\"2\" has no unit", "write 2s or 2ms"),
            ("-2s", "\"-2s\" is negative", "one whole number"),
            ("", "\"\" is not a duration", "such as 500ms"),
            ("-", "is not a duration", "such as 500ms"),
            ("s", "is not a duration", "such as 500ms"),
            ("1.5s", "is not a duration", "one whole number"),
            ("1m30s", "is not a duration", "one of the units"),
            ("2 s", "is not a duration", "one of the units"),
            ("2S", "is not a duration", "ms, s, m, h"),
            ("1d", "is not a duration", "ms, s, m, h"),
            ("18446744073709551616ms", "is too long", "such as"),
            ("18446744073709551615h", "is too long", "such as"),
        ] {
            let error = text.parse::<ConfigDuration>().unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(error.hint().contains(hint), "{text}: {}", error.hint());
        }
    }

    #[test]
    fn the_largest_whole_unit_is_shown() {
        for (text, shown) in [("1000ms", "1s"), ("60s", "1m"), ("60m", "1h"), ("90s", "90s"), ("0ms", "0s")] {
            assert_eq!(text.parse::<ConfigDuration>().unwrap().to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(millis: u64) {
            let duration = ConfigDuration { millis };
            prop_assert_eq!(duration.to_string().parse::<ConfigDuration>(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<ConfigDuration>().map_err(|e| e.hint());
        }
    }
}
