use std::fmt;

use super::problem::Problem;

/// A place in a text file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, such as `services[0].vip`, or the flag, such as `--backend[1]`. Empty: the file as a whole.
    pub path: String,
    /// Where it is in the file; `None`: it does not come from the file.
    pub position: Option<Position>,
    /// What is wrong, and what to do about it.
    pub problem: Problem,
}

impl ConfigError {
    /// What to do about it, where there is a remedy.
    pub fn hint(&self) -> Option<String> {
        self.problem.hint()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", shortened(self.problem.to_string()))?;
        match self.hint() {
            Some(hint) => write!(f, " (hint: {})", shortened(hint)),
            None => Ok(()),
        }
    }
}

/// The most characters of a message or hint: a value from the file may be as long as the file.
const MAX_MESSAGE: usize = 300;

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The most errors that are kept: more than anybody reads, and a bound on what a hostile file makes us print.
pub const MAX_ERRORS: usize = 100;

/// All that is wrong with the configuration. `Display` writes one line for each:
/// `FILE:LINE:COLUMN: FIELD: MESSAGE (hint: REMEDY)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file; `None`: there is none, only flags.
    pub source_name: Option<String>,
    /// In the order of the file, those of flags last. Never empty, at most [`MAX_ERRORS`].
    pub errors: Vec<ConfigError>,
    /// How many more there are.
    pub omitted: usize,
}

impl ConfigErrors {
    /// Sorts the errors and keeps the first [`MAX_ERRORS`].
    pub(super) fn new(source_name: Option<&str>, mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|e| (e.position.is_none(), e.position));
        let omitted = errors.len().saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS);
        Self { source_name: source_name.map(str::to_owned), errors, omitted }
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            if let (Some(name), Some(position)) = (&self.source_name, error.position) {
                write!(f, "{name}:{position}: ")?;
            }
            write!(f, "{error}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n... and {} more", self.omitted)?;
        }
        Ok(())
    }
}
