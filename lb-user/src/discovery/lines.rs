/// Lines out of pieces.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        Some(line)
    }

    /// What has come of a line that has not ended.
    pub(super) fn rest(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_however_it_was_cut() {
        let mut lines = Lines::default();
        lines.push(b"a");
        assert_eq!(lines.next(), None);
        lines.push(b"b\nc\n\nd");
        assert_eq!([lines.next(), lines.next(), lines.next()].map(Option::unwrap), [&b"ab"[..], b"c", b""]);
        assert_eq!((lines.next(), lines.rest()), (None, 1));
    }
}
