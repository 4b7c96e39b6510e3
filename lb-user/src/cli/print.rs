//! Data to stdout, errors and notes to stderr.

use std::{
    fmt,
    io::{self, Write as _},
};

use anyhow::Context as _;
use serde::Serialize;

use super::logging::colour_on_stderr;
use crate::output::Format;

/// Writes to stdout. A reader that has gone away (`lbctl backends | head -1`) has seen what it wanted.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to stdout")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a value as JSON or YAML, or as the text for people.
pub(super) fn data(format: Format, value: &impl Serialize, for_people: &str) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Wide => text(for_people),
        Format::Json => {
            let json = serde_json::to_string_pretty(value).context("failed to write JSON")?;
            text(&format!("{json}\n"))
        }
        Format::Yaml => text(&serde_yaml::to_string(value).context("failed to write YAML")?),
    }
}

/// Something that the user should know, though the command goes on.
pub(super) fn note(message: impl fmt::Display) {
    line(None, format_args!("note: {message}"));
}

/// An error with its causes.
pub(super) fn error(error: &anyhow::Error) {
    line(Some("\x1b[1;31m"), chain(error));
}

/// A prefix and a message. Nobody can be told that stderr is closed.
fn line(colour: Option<&str>, message: impl fmt::Display) {
    let mut stderr = io::stderr().lock();
    let _ = match colour.filter(|_| colour_on_stderr()) {
        Some(colour) => writeln!(stderr, "{colour}lbctl:\x1b[0m {message}"),
        None => writeln!(stderr, "lbctl: {message}"),
    };
}

/// `failed to ...: cause: cause`. A cause of several lines starts on a line of its own.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.is_empty() {
            text.push_str(if cause.contains('\n') { ":\n" } else { ": " });
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_on_the_same_line_unless_there_are_several_lines_of_them() {
        let error = anyhow::anyhow!("no such file").context("read /x").context("failed to check");
        assert_eq!(chain(&error), "failed to check: read /x: no such file");
        assert_eq!(chain(&anyhow::anyhow!("a\nb").context("failed to check")), "failed to check:\na\nb");
    }
}
