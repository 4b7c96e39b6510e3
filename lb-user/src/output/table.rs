use std::fmt::Write as _;

use super::Style;

/// The colours there are, as SGR parameters (ECMA-48).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
}

impl Style {
    /// The text in a colour, where colours are wanted.
    pub(super) fn paint(self, colour: Option<Colour>, text: &str) -> String {
        let sgr = match colour {
            Some(_) if !self.colour => return text.to_owned(),
            None => return text.to_owned(),
            Some(Colour::Red) => "31",
            Some(Colour::Green) => "32",
            Some(Colour::Yellow) => "33",
        };
        format!("\x1b[{sgr}m{text}\x1b[0m")
    }
}

/// One cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    pub(super) fn new(text: impl ToString) -> Self {
        Self { text: text.to_string(), colour: None }
    }

    pub(super) fn coloured(text: impl ToString, colour: Option<Colour>) -> Self {
        Self { text: text.to_string(), colour }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Columns as wide as their widest cell, two spaces apart, no space at a line's end: what `kubectl get` prints. A
/// row may be shorter or longer than the first.
pub(super) fn aligned(rows: &[Vec<Cell>], style: Style) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width - cell.width() + 2;
            // Writing to a String cannot fail.
            let _ = write!(line, "{}{:padding$}", style.paint(cell.colour, &cell.text), "");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
