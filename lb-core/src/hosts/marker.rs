//! The lines by which lbctl recognizes what it has written.

use super::{
    Entry,
    line::{Mapping, split_ending},
};

const BEGIN: &str = "# BEGIN lbctl";
const BEGIN_NOTICE: &str = ": managed by lbctl, do not edit";
const NO_NEWLINE: &str = "no-last-newline";
const CREATED: &str = "created";
const ENTRIES: &str = "for=";
const END: &str = "# END lbctl";
const DISABLED: &str = "# lbctl disabled: ";
const SPLIT: &str = "# lbctl split ";
const REST: &str = " # lbctl: rest of the line above";
/// Starts the padding that [`super::in_place`] puts before its journal.
pub(super) const PADDING: &str = "# lbctl is rewriting this file ";
/// Starts the journal line of [`super::in_place`].
pub(super) const JOURNAL: &str = "# lbctl journal ";

/// The shortest beginning of the two above that is taken for one of them.
pub(super) const LEAST_REMNANT: &str = "# lbctl ";

/// A line that lbctl wrote, by its first bytes.
#[derive(Debug)]
pub(super) enum Marker<'a> {
    Begin(Begin<'a>),
    End,
    /// The original line, with its ending.
    Disabled(&'a [u8]),
    Split(Split<'a>),
    /// A remnant of a write that was cut short, of no more use.
    Remnant,
}

/// The first line of the block, and what it remembers.
#[derive(Debug)]
pub(super) struct Begin<'a> {
    /// The file's last line had no newline; the block's own ending was added to it.
    pub(super) no_last_newline: bool,
    /// The file did not exist.
    pub(super) created: bool,
    /// Address and name of each line of the block, as text.
    pub(super) entries: Vec<(&'a [u8], &'a [u8])>,
    /// The block's line ending.
    pub(super) ending: &'a [u8],
}

/// A foreign line of which some names were taken away.
#[derive(Debug)]
pub(super) struct Split<'a> {
    taken: Vec<&'a [u8]>,
    /// The original line's text.
    pub(super) original: &'a [u8],
    /// The ending of the marker line.
    pub(super) ending: &'a [u8],
}

impl<'a> Marker<'a> {
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        let (text, ending) = split_ending(raw);
        if let Some(original) = raw.strip_prefix(DISABLED.as_bytes()) {
            return Some(Self::Disabled(original));
        }
        if let Some(rest) = text.strip_prefix(SPLIT.as_bytes()) {
            return Split::parse(rest, ending).map(Self::Split);
        }
        if is_remnant(raw) {
            return Some(Self::Remnant);
        }
        let trimmed = text.trim_ascii_end();
        if trimmed == END.as_bytes() {
            return Some(Self::End);
        }
        match trimmed.strip_prefix(BEGIN.as_bytes())? {
            details @ ([] | [b':', ..]) => Some(Self::Begin(Begin::parse(details, ending))),
            _ => None,
        }
    }
}

/// Also true for a last line that was cut within these words, if enough is left of it to tell it from a comment.
fn is_remnant(raw: &[u8]) -> bool {
    [PADDING, JOURNAL].iter().any(|words| {
        let words = words.as_bytes();
        raw.starts_with(words) || (raw.starts_with(LEAST_REMNANT.as_bytes()) && words.starts_with(raw))
    })
}

impl<'a> Begin<'a> {
    fn parse(details: &'a [u8], ending: &'a [u8]) -> Self {
        let mut begin = Self { no_last_newline: false, created: false, entries: Vec::new(), ending };
        for word in details.split(|b| *b == b' ') {
            begin.no_last_newline |= word == NO_NEWLINE.as_bytes();
            begin.created |= word == CREATED.as_bytes();
            if let Some(list) = word.strip_prefix(ENTRIES.as_bytes()) {
                begin.entries = list.split(|b| *b == b',').filter_map(|pair| split_at(pair, b"=")).collect();
            }
        }
        begin
    }
}

impl<'a> Split<'a> {
    fn parse(rest: &'a [u8], ending: &'a [u8]) -> Option<Self> {
        let (taken, original) = split_at(rest, b": ")?;
        Some(Self { taken: taken.split(|b| *b == b',').collect(), original, ending })
    }

    /// Whether `text` is the line that was written for the remaining names, and nobody has changed it since.
    pub(super) fn left(&self, text: &[u8]) -> bool {
        let taken = |name: &[u8]| self.taken.iter().any(|t| t.eq_ignore_ascii_case(name));
        let kept = Mapping::parse(self.original).and_then(|mapping| mapping.without(taken));
        kept.is_some() && kept.as_deref() == text.strip_suffix(REST.as_bytes())
    }
}

fn split_at<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

/// The line without the remark that it is the rest of another; None if it has no such remark.
pub(super) fn without_rest_remark(raw: &[u8]) -> Option<Vec<u8>> {
    let (text, ending) = split_ending(raw);
    text.strip_suffix(REST.as_bytes()).map(|text| [text, ending].concat())
}

/// Appends the block.
pub(super) fn write_block(
    out: &mut Vec<u8>,
    wanted: &[Entry],
    no_last_newline: bool,
    created: bool,
    ending: &[u8],
) {
    let mut lines: Vec<(String, &str)> = Vec::with_capacity(wanted.len());
    for entry in wanted {
        let line = (entry.address.to_string(), entry.hostname.as_str());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let list: Vec<String> = lines.iter().map(|(address, name)| format!("{address}={name}")).collect();
    let mut begin = format!("{BEGIN}{BEGIN_NOTICE}");
    for (set, word) in [(no_last_newline, NO_NEWLINE), (created, CREATED)] {
        if set {
            begin.push(' ');
            begin.push_str(word);
        }
    }
    out.extend_from_slice(format!("{begin} {ENTRIES}{}", list.join(",")).as_bytes());
    out.extend_from_slice(ending);
    for (address, name) in lines {
        out.extend_from_slice(format!("{address} {name}").as_bytes());
        out.extend_from_slice(ending);
    }
    out.extend_from_slice(END.as_bytes());
    out.extend_from_slice(ending);
}

/// Appends a foreign line, commented out as far as it maps a name that `taken` picks.
pub(super) fn write_foreign(out: &mut Vec<u8>, raw: &[u8], ending: &[u8], taken: impl Fn(&[u8]) -> bool) {
    let Some(mapping) = Mapping::parse(raw).filter(|mapping| mapping.names.iter().any(|name| taken(name)))
    else {
        out.extend_from_slice(raw);
        return;
    };
    let Some(rest) = mapping.without(&taken) else {
        out.extend_from_slice(DISABLED.as_bytes());
        out.extend_from_slice(raw);
        return;
    };
    let (text, own_ending) = split_ending(raw);
    out.extend_from_slice(SPLIT.as_bytes());
    out.extend_from_slice(&taken_names(&mapping, &taken).join(&b','));
    out.extend_from_slice(b": ");
    out.extend_from_slice(text);
    out.extend_from_slice(match own_ending {
        // A carriage return that ends the text must not merge with the newline to come.
        [] if text.ends_with(b"\r") => b"\r\n",
        [] => ending,
        own => own,
    });
    out.extend_from_slice(&rest);
    out.extend_from_slice(REST.as_bytes());
    out.extend_from_slice(own_ending);
}

fn taken_names(mapping: &Mapping<'_>, taken: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for name in mapping.names.iter().filter(|name| taken(name)) {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name.to_vec());
        }
    }
    names
}
