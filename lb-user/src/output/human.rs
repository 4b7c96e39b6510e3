use std::borrow::Cow;

use jiff::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long ago `then` was: `4s`, `5m12s`, `2h11m`, `3d4h`. What lies in the future (a clock was set back) is `0s`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    seconds(u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0))
}

/// A time in the same form.
pub(super) fn seconds(seconds: u64) -> String {
    let (whole, unit, rest, rest_unit) = match seconds {
        0..MINUTE => return format!("{seconds}s"),
        MINUTE..HOUR => (seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        HOUR..DAY => (seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        DAY.. => (seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
    };
    if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{rest_unit}") }
}

/// Milliseconds with as many digits as mean something: `0.8ms`, `120ms`.
pub(crate) fn latency(milliseconds: f64) -> String {
    // 99.95 would be rounded to four digits, 100.0.
    if milliseconds < 99.95 { format!("{milliseconds:.1}ms") } else { format!("{milliseconds:.0}ms") }
}

/// Text on one line of a terminal. A reason may quote what a backend sent, and a backend must not move the
/// cursor or set the title of whoever looks at it.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn an_age_has_two_units_at_most_and_no_zero_in_the_second() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (4, "4s"),
            (59, "59s"),
            (60, "1m"),
            (312, "5m12s"),
            (3_599, "59m59s"),
            (3_600, "1h"),
            (3_659, "1h"),
            (7_860, "2h11m"),
            (86_399, "23h59m"),
            (86_400, "1d"),
            (273_600, "3d4h"),
            (40_000_000, "462d23h"),
        ] {
            assert_eq!(age(now - SignedDuration::from_secs(seconds), now), text, "{seconds}");
        }
    }

    #[test]
    fn a_latency_has_a_decimal_below_100_ms() {
        for (ms, text) in
            [(0.0, "0.0ms"), (0.8, "0.8ms"), (99.94, "99.9ms"), (99.96, "100ms"), (1500.4, "1500ms")]
        {
            assert_eq!(latency(ms), text);
        }
    }

    #[test]
    fn control_characters_are_shown_not_sent_to_the_terminal() {
        assert_eq!(printable("not HTTP: \"SSH-2.0\""), "not HTTP: \"SSH-2.0\"");
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}é"), "a\\u{1b}[2Jb\\r\\nc\\u{9b}é");
    }
}
