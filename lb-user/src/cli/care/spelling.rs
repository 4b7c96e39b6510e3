//! How values are written on lvscare's command line: as Go's flag packages read them.

use std::{mem, time::Duration};

use jiff::SignedDuration;

/// A value, unless it is empty: lvscare takes an empty variable for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given<T>(pub(super) Option<T>);

/// A header's name, and what is written as its value.
pub(super) type Header = (String, String);

/// The values that Go's `strconv.ParseBool` takes for true, and for false.
const SWITCH: [(bool, [&str; 6]); 2] =
    [(true, ["1", "t", "T", "TRUE", "true", "True"]), (false, ["0", "f", "F", "FALSE", "false", "False"])];

fn unless_empty<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Given<T>, String> {
    if text.is_empty() { Ok(Given(None)) } else { read(text).map(|value| Given(Some(value))) }
}

/// One of a closed set of words.
pub(super) fn one_of(
    words: &'static [&'static str],
) -> impl Fn(&str) -> Result<Given<&'static str>, String> + Clone {
    let read = move |text: &str| {
        let word = words.iter().copied().find(|word| *word == text);
        word.ok_or_else(|| format!("it is none of {}", words.join(", ")))
    };
    move |text| unless_empty(text, read)
}

/// Yes or no.
pub(super) fn switch(text: &str) -> Result<Given<bool>, String> {
    unless_empty(text, |text| {
        let found = SWITCH.into_iter().find(|(_, words)| words.contains(&text));
        found.map(|(value, _)| value).ok_or_else(|| "it is neither true nor false".to_owned())
    })
}

/// Seconds, `5`, or a duration as Go prints it, `1m30s`.
pub(super) fn span(text: &str) -> Result<Given<Duration>, String> {
    unless_empty(text, |text| {
        let span = match text.parse::<i64>() {
            Ok(seconds) => SignedDuration::from_secs(seconds),
            Err(_) => {
                text.parse().map_err(|_| "write seconds, 5, or a duration, 500ms or 1m30s".to_owned())?
            }
        };
        Duration::try_from(span).map_err(|_| "it is negative".to_owned())
    })
}

/// A status code.
pub(super) fn code(text: &str) -> Result<Given<u16>, String> {
    unless_empty(text, |text| text.trim().parse().map_err(|_| "it is no status code, such as 401".to_owned()))
}

/// `NAME=VALUE`, several of them as a line of CSV. Where there is one `=`, commas belong to the value.
pub(super) fn headers(text: &str) -> Result<Given<Vec<Header>>, String> {
    let pair = |pair: &String| match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("{pair:?} is not NAME=VALUE")),
    };
    unless_empty(text, |text| {
        let pairs = match text.matches('=').count() {
            1 => vec![text.trim_matches('"').to_owned()],
            _ => fields(text),
        };
        pairs.iter().map(pair).collect()
    })
}

/// The fields of a line of CSV (RFC 4180).
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(mem::take(&mut field)),
            character => field.push(character),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_seconds_or_what_go_prints() {
        for (text, millis) in [
            ("5", 5_000),
            ("0", 0),
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1h0m0s", 3_600_000),
            ("1.5s", 1_500),
            ("2h45m30.5s", 9_930_500),
            ("1500us", 1),
            ("1500µs", 1),
        ] {
            let Given(span) = span(text).unwrap();
            assert_eq!(span.unwrap().as_millis(), millis, "{text}");
        }
        for (text, why) in [
            ("-5", "negative"),
            ("-5s", "negative"),
            ("five", "write seconds"),
            ("1.5", "write seconds"),
            ("5x", "write seconds"),
            (" ", "write seconds"),
            ("99999999999999999999", "write seconds"),
        ] {
            let error = span(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_switch_is_every_word_that_go_takes() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(switch(text), Ok(Given(Some(true))), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(switch(text), Ok(Given(Some(false))), "{text}");
        }
        for text in ["yes", "on", "tRUE", " true", "2"] {
            assert!(switch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_empty_is_not_given() {
        assert_eq!(switch(""), Ok(Given(None)));
        assert_eq!(span(""), Ok(Given(None)));
        assert_eq!(code(""), Ok(Given(None)));
        assert_eq!(headers(""), Ok(Given(None)));
        assert_eq!(one_of(&["a"])(""), Ok(Given(None)));
    }

    #[test]
    fn headers_are_a_pair_or_a_line_of_csv() {
        for (text, wanted) in [
            ("A=1", vec![("A", "1")]),
            ("A=", vec![("A", "")]),
            ("Accept=text/plain,text/html", vec![("Accept", "text/plain,text/html")]),
            ("\"A=1\"", vec![("A", "1")]),
            ("A=1,B=2", vec![("A", "1"), ("B", "2")]),
            ("A=x=y", vec![("A", "x=y")]),
            ("\"A=1,2\",B=3", vec![("A", "1,2"), ("B", "3")]),
            ("A=1,\"B=say \"\"hi\"\"\"", vec![("A", "1"), ("B", "say \"hi\"")]),
        ] {
            let Given(pairs) = headers(text).unwrap();
            let pairs = pairs.unwrap();
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(pairs, wanted, "{text}");
        }
        for text in ["A", "A=1,B=2,C"] {
            assert!(headers(text).unwrap_err().contains("is not NAME=VALUE"), "{text}");
        }
    }
}
