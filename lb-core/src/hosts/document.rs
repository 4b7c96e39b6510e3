//! A hosts file taken apart into what is ours and what is not, and put together again.

use std::borrow::Cow;

use super::{
    Entry, ForeignLine,
    line::{Mapping, lines, split_ending},
    marker::{Begin, Marker, Split, without_rest_remark, write_block, write_foreign},
};

/// The foreign lines as they were before lbctl, and where the block stands among them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Document<'a> {
    pub(super) lines: Vec<Line<'a>>,
    /// How many foreign lines precede the block; None without a block.
    pub(super) slot: Option<usize>,
    /// The file did not exist before lbctl made it.
    pub(super) created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    raw: Cow<'a, [u8]>,
    /// The line's number in the file, counted from 1, if it stands there as it is.
    number: Option<usize>,
}

/// A block whose first line has been read and whose last has not.
struct OpenBlock<'a> {
    /// What the first line announces and has not come yet.
    expected: Vec<(&'a [u8], &'a [u8])>,
    /// How many lines may still be entries that somebody changed by hand.
    edits_left: usize,
    names: Vec<&'a [u8]>,
    /// An end marker follows before the next begin marker.
    terminated: bool,
}

impl<'a> Document<'a> {
    /// Never fails, and never takes a foreign line for ours, whatever happened to the markers:
    ///
    /// - inside a complete block, a line is ours if the first line announces it, or if it maps nothing but announced
    ///   names (an entry changed by hand), as long as there are no more of these than announced;
    /// - without an end marker, the block ends before the first line that is not announced, word for word;
    /// - an end marker alone is dropped; of several blocks the first gives the place.
    pub(super) fn parse(content: &'a [u8]) -> Self {
        let raw: Vec<&[u8]> = lines(content).collect();
        let mut document = Self::default();
        let mut open: Option<OpenBlock<'_>> = None;
        let mut added_ending: Option<&[u8]> = None;
        let mut at = 0;
        while let Some(&line) = raw.get(at) {
            at += 1;
            match Marker::parse(line) {
                Some(Marker::Begin(begin)) => {
                    document.slot.get_or_insert(document.lines.len());
                    document.created |= begin.created;
                    if begin.no_last_newline {
                        added_ending = Some(begin.ending);
                    }
                    open = Some(OpenBlock::new(&begin, &raw[at..]));
                }
                Some(Marker::End) => open = None,
                Some(Marker::Remnant) => {}
                Some(Marker::Disabled(original)) => document.restore(Cow::Borrowed(original)),
                Some(Marker::Split(split)) => at += document.unsplit(&split, raw.get(at).copied()),
                None if open.as_mut().is_some_and(|block| block.owns(line)) => {}
                None => {
                    open = open.filter(|block| block.terminated);
                    document.lines.push(Line { raw: Cow::Borrowed(line), number: Some(at) });
                }
            }
        }
        if let Some(ending) = added_ending.filter(|_| document.slot == Some(document.lines.len())) {
            document.strip_last(ending);
        }
        document
    }

    /// The file with a block for `wanted`; without any if that is empty.
    pub(super) fn render(&self, wanted: &[Entry]) -> Vec<u8> {
        let ending = self.dominant_ending();
        let taken = |name: &[u8]| is_wanted(name, wanted);
        let slot = self.slot.unwrap_or(self.lines.len());
        let mut out = Vec::with_capacity(self.lines.iter().map(|line| line.raw.len()).sum::<usize>() + 256);
        for line in &self.lines[..slot] {
            write_foreign(&mut out, &line.raw, ending, taken);
        }
        if !wanted.is_empty() {
            let no_last_newline = out.last().is_some_and(|last| *last != b'\n');
            if no_last_newline {
                out.extend_from_slice(ending);
            }
            write_block(&mut out, wanted, no_last_newline, self.created, ending);
        }
        for line in &self.lines[slot..] {
            write_foreign(&mut out, &line.raw, ending, taken);
        }
        out
    }

    /// The lines that give a wanted name an address although they are not ours.
    pub(super) fn foreign_lines_for(&self, wanted: &[Entry]) -> Vec<ForeignLine> {
        let visible = self.lines.iter().filter_map(|line| Some((line.number?, line.raw.as_ref())));
        visible
            .filter(|(_, raw)| {
                Mapping::parse(raw).is_some_and(|m| m.names.iter().any(|name| is_wanted(name, wanted)))
            })
            .map(|(number, raw)| ForeignLine {
                number,
                text: String::from_utf8_lossy(split_ending(raw).0).into_owned(),
            })
            .collect()
    }

    fn restore(&mut self, raw: Cow<'a, [u8]>) {
        self.lines.push(Line { raw, number: None });
    }

    /// Restores a line of which a part was kept in the line `next`. A part that somebody has changed since stays,
    /// before the restored line, so that the change goes on to win. Returns how many lines of the file are used up.
    fn unsplit(&mut self, split: &Split<'a>, next: Option<&'a [u8]>) -> usize {
        if let Some((text, ending)) = next.map(split_ending)
            && split.left(text)
        {
            self.restore(Cow::Owned([split.original, ending].concat()));
            return 1;
        }
        let edited = next.and_then(without_rest_remark);
        let used = usize::from(edited.is_some());
        if let Some(mut edited) = edited {
            if !edited.ends_with(b"\n") {
                edited.extend_from_slice(split.ending);
            }
            self.restore(Cow::Owned(edited));
        }
        self.restore(Cow::Owned([split.original, split.ending].concat()));
        used
    }

    fn strip_last(&mut self, ending: &[u8]) {
        if let Some(line) = self.lines.last_mut() {
            let ending = if line.raw.ends_with(ending) { ending } else { b"\n" };
            if let Some(stripped) = line.raw.strip_suffix(ending) {
                line.raw = Cow::Owned(stripped.to_vec());
            }
        }
    }

    fn dominant_ending(&self) -> &'static [u8] {
        let count =
            |ending: &[u8]| self.lines.iter().filter(|line| split_ending(&line.raw).1 == ending).count();
        if count(b"\r\n") > count(b"\n") { b"\r\n" } else { b"\n" }
    }
}

impl<'a> OpenBlock<'a> {
    fn new(begin: &Begin<'a>, following: &[&[u8]]) -> Self {
        let next = following.iter().find_map(|line| match Marker::parse(line) {
            Some(Marker::Begin(_)) => Some(false),
            Some(Marker::End) => Some(true),
            Some(Marker::Disabled(_) | Marker::Split(_) | Marker::Remnant) | None => None,
        });
        Self {
            expected: begin.entries.clone(),
            edits_left: begin.entries.len(),
            names: begin.entries.iter().map(|(_, name)| *name).collect(),
            terminated: next == Some(true),
        }
    }

    fn owns(&mut self, raw: &[u8]) -> bool {
        let text = split_ending(raw).0;
        let announced =
            self.expected.iter().position(|(address, name)| [*address, *name].join(&b' ') == text);
        if let Some(at) = announced {
            self.expected.swap_remove(at);
            self.edits_left = self.edits_left.saturating_sub(1);
            return true;
        }
        let announces = |name: &&[u8]| self.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        let edited = self.terminated
            && self.edits_left > 0
            && Mapping::parse(raw).is_some_and(|mapping| mapping.names.iter().all(announces));
        self.edits_left -= usize::from(edited);
        edited
    }
}

fn is_wanted(name: &[u8], wanted: &[Entry]) -> bool {
    wanted.iter().any(|entry| entry.hostname.as_bytes().eq_ignore_ascii_case(name))
}
