//! What several programs print at the same time, told apart.

use std::io::{self, Write};

/// Longer lines are shown in parts.
const LONGEST_LINE: usize = 4096;

/// Shows the output of one of them line by line, each behind its name.
pub(crate) struct Labelled {
    name: &'static str,
    line: Vec<u8>,
}

impl Labelled {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, line: Vec::new() }
    }

    /// Takes the next piece, and shows the lines that are complete.
    pub(crate) fn write(&mut self, piece: &[u8], to: &mut impl Write) -> io::Result<()> {
        for &byte in piece {
            if byte == b'\n' || self.line.len() >= LONGEST_LINE {
                self.end_line(to)?;
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
        to.flush()
    }

    /// Shows a last line that does not end.
    pub(crate) fn finish(&mut self, to: &mut impl Write) -> io::Result<()> {
        if self.line.is_empty() { Ok(()) } else { self.end_line(to) }
    }

    fn end_line(&mut self, to: &mut impl Write) -> io::Result<()> {
        let mut shown = format!("{} | ", self.name).into_bytes();
        shown.append(&mut self.line);
        shown.push(b'\n');
        to.write_all(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let (mut labelled, mut out) = (Labelled::new("a"), Vec::new());
        pieces.iter().for_each(|piece| labelled.write(piece, &mut out).unwrap());
        labelled.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_shown_whole_each_behind_the_name() {
        assert_eq!(shown(&[b"test x ... ", b"ok\n\ntest", b" y"]), "a | test x ... ok\na | \na | test y\n");
        assert_eq!(shown(&[]), "");
    }

    #[test]
    fn a_line_that_never_ends_is_shown_in_parts() {
        let shown = shown(&[&[b'x'; LONGEST_LINE * 2]]);
        assert_eq!(shown.lines().count(), 2);
        assert_eq!(shown.bytes().filter(|byte| *byte == b'x').count(), LONGEST_LINE * 2);
    }
}
