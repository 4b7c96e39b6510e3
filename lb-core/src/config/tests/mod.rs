#![allow(clippy::unwrap_used, clippy::panic)]

mod bad_shape;
mod bad_values;
mod example;
mod flags;
mod hostile;

use super::{Config, ConfigErrors, Overrides, load};

/// A file with the least that is needed.
const LEAST: &str = "services:
- name: apiserver
  vip: 10.103.97.2:6443
  backends: [192.168.0.2:6443]
";

fn load_text(text: &str) -> Result<Config, ConfigErrors> {
    load(Some(("lb.yaml", text)), &Overrides::default())
}

/// The lines that people see.
fn complaints(text: &str) -> String {
    match load_text(text) {
        Ok(config) => panic!("taken for good: {text}\n{config:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// Checks that each text has one mistake, and the beginning of the line that people see about it. Shows all the
/// rows that differ, not just the first.
fn assert_rows<T: AsRef<str>>(rows: &[(T, &str)]) {
    let differs = |(text, wanted): &(T, &str)| {
        let seen = complaints(text.as_ref());
        let right = seen.starts_with(&format!("lb.yaml:{wanted}")) && seen.lines().count() == 1;
        (!right).then(|| format!("{}\n  wanted lb.yaml:{wanted}\n  seen   {seen}\n", text.as_ref()))
    };
    let wrong: Vec<_> = rows.iter().filter_map(differs).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rows that differ from [`LEAST`] by what is replaced in it, or appended to the service as line 5.
fn assert_changes<'a>(rows: &[(&str, &str, &'a str)]) {
    let change = |(old, new, wanted): &(&str, &str, &'a str)| {
        let text = if old.is_empty() { format!("{LEAST}  {new}\n") } else { LEAST.replacen(old, new, 1) };
        (text, *wanted)
    };
    assert_rows(&rows.iter().map(change).collect::<Vec<_>>());
}
