use std::time::Duration;

use super::{FieldPath, Problem, Report};
use crate::config::{duration::ConfigDuration, raw::Number};

/// The longest duration: what is slower than this is no health check.
const MAX_DURATION: Duration = Duration::from_secs(3600);

/// One of a closed set of words, or the default where nothing is written.
pub(super) fn choice<T: Copy>(
    raw: &Option<String>,
    all: &[T],
    name: fn(T) -> &'static str,
    default: T,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<T> {
    let Some(text) = raw else { return Some(default) };
    let found = all.iter().copied().find(|value| name(*value) == text);
    if found.is_none() {
        let choices = all.iter().copied().map(name).collect();
        report.add(path, Problem::NotAChoice { text: text.clone(), choices });
    }
    found
}

/// `on` or `off`, or the default.
pub(super) fn on_off(
    raw: &Option<String>,
    default: bool,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<bool> {
    choice(raw, &[true, false], |on| if on { "on" } else { "off" }, default, path, report)
}

/// A whole number in a range, or the default.
pub(super) fn number(
    raw: Option<Number>,
    (min, max): (u32, u32),
    default: u32,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<u32> {
    let Some(Number(number)) = raw else { return Some(default) };
    let in_range = u32::try_from(number).ok().filter(|n| (min..=max).contains(n));
    if in_range.is_none() {
        report.add(path, Problem::OutOfRange { number, min, max });
    }
    in_range
}

/// A duration above zero and up to an hour.
pub(super) fn duration(text: &str, path: &FieldPath, report: &mut Report<'_>) -> Option<Duration> {
    positive(text, false, path, report)
}

/// `off`, or a duration above zero and up to an hour.
pub(super) fn duration_or_off(
    text: &str,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<Option<Duration>> {
    if text == "off" { Some(None) } else { positive(text, true, path, report).map(Some) }
}

fn positive(text: &str, off: bool, path: &FieldPath, report: &mut Report<'_>) -> Option<Duration> {
    let given = report.ok(path, text.parse::<ConfigDuration>())?.get();
    if given.is_zero() {
        report.add(path, Problem::ZeroDuration { off });
        return None;
    }
    if given > MAX_DURATION {
        report.add(path, Problem::TooLong { given, max: MAX_DURATION });
        return None;
    }
    Some(given)
}
