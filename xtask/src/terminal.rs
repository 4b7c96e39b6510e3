//! What the commands print: colours on a terminal only, and never when NO_COLOR is set (https://no-color.org).

use std::{
    env,
    io::{self, IsTerminal as _},
};

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// Whether stdout takes colours.
pub(crate) fn stdout_has_colours() -> bool {
    wants_colours(io::stdout().is_terminal())
}

fn wants_colours(is_terminal: bool) -> bool {
    is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn paint(is_terminal: bool, style: &str, text: &str) -> String {
    if wants_colours(is_terminal) { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Says on stderr what is about to happen.
pub(crate) fn step(text: &str) {
    eprintln!("{} {text}", paint(io::stderr().is_terminal(), BOLD, "==>"));
}

/// Says on stderr what deserves a look but stops nothing.
pub(crate) fn warning(text: &str) {
    eprintln!("{} {text}", paint(io::stderr().is_terminal(), YELLOW, "warning:"));
}

/// Says on stderr what failed.
pub(crate) fn error(text: &str) {
    eprintln!("{} {text}", paint(io::stderr().is_terminal(), RED, "error:"));
}

/// `text` in green, for stdout.
pub(crate) fn good(text: &str) -> String {
    paint(io::stdout().is_terminal(), GREEN, text)
}

/// `text` in red, for stdout.
pub(crate) fn bad(text: &str) -> String {
    paint(io::stdout().is_terminal(), RED, text)
}
