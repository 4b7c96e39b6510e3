//! How the story is told: lines with the seconds since its beginning, in colour on a terminal.

use std::io::IsTerminal;
use std::time::Instant;

const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Speaks on stdout.
#[derive(Clone, Copy)]
pub(super) struct Voice {
    began: Instant,
    colour: bool,
}

impl Voice {
    pub(super) fn new() -> Self {
        // https://no-color.org
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { began: Instant::now(), colour: std::io::stdout().is_terminal() && !unwanted }
    }

    /// A new act.
    pub(super) fn act(self, title: &str) {
        println!();
        self.line(BOLD, title);
    }

    /// Something that happens.
    pub(super) fn say(self, text: &str) {
        self.line("", text);
    }

    /// A disaster.
    pub(super) fn fault(self, text: &str) {
        self.line(YELLOW, text);
    }

    /// What is well.
    pub(super) fn good(self, text: &str) {
        self.line(GREEN, text);
    }

    /// What is not.
    pub(super) fn bad(self, text: &str) {
        self.line(RED, text);
    }

    /// What a command printed, below the last line.
    pub(super) fn quote(self, text: &str) {
        for line in text.trim_end().lines() {
            println!("         | {line}");
        }
    }

    fn line(self, style: &str, text: &str) {
        let at = self.began.elapsed().as_secs_f64();
        if self.colour && !style.is_empty() {
            println!("{at:6.2} s  \x1b[{style}m{text}\x1b[0m");
        } else {
            println!("{at:6.2} s  {text}");
        }
    }
}
