//! Rewriting a hosts file in place so that no crash makes a foreign line unreadable.
//!
//! Where rename cannot work (the file is a mount point, or its directory cannot be written), the bytes under every
//! reader have to change one write at a time, and a power cut may leave any first part of a write. [`steps`] orders
//! the writes so that in every such state each line that old and new content share is there as a whole, and no line
//! is there that neither of them has.
//!
//! Let `old` = P + A and `new` = P + B, P ending at the start of a line. The file must be synced after each step.
//!
//! | step | the file afterwards | cut short in the middle |
//! |---|---|---|
//! | 1 append | P A, padding, journal, B with every line's first byte replaced by `#` | comments after `old` |
//! | 2 reveal | P A, padding, journal, B | differs from 1 in the first bytes of lines: each is a comment or whole |
//! | 3 hide | P `####…`, journal, B | what is left of the line that was reached follows a `#` |
//! | 4 place | P, B behind `#` as in 1, `###`, journal, B | likewise |
//! | 5 reveal | P B `###`, journal, B | as in 2 |
//! | 6 cut | P B | a length changes at once or not at all |
//!
//! Until step 3 all of A stands, from step 2 on all of the second B does. The journal line holds the lengths and a
//! checksum of A and of the second B, hidden and not, by which [`recover`] finds either `new` (B is whole) or `old` (A is whole).
//! A cut within the padding or the journal line itself leaves a comment that [`super::remove`] recognizes, except
//! for a first few bytes of it, and the newline before it if `old` did not end in one.
//!
//! All space is allocated by step 1, so that a full disk shows itself while the old bytes are untouched. The price is
//! that the file is briefly about twice as long. For a file with several lines for one name (which are all there at
//! any time) a crash within steps 3 to 5 can change which of them comes first, until the next write.

use std::borrow::Cow;

use super::{
    line::{Mapping, lines},
    marker::{JOURNAL, PADDING},
};

/// One change to a file, to be synced before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write `bytes` at `offset`, which is never beyond the end of the file.
    WriteAt {
        /// In bytes from the start of the file.
        offset: u64,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// Cut the file to this many bytes.
    SetLen(u64),
}

impl Step {
    /// Whether the first `len` bytes of the file stay as they are, so that cutting it to `len` undoes the step.
    pub fn keeps_first(&self, len: u64) -> bool {
        match self {
            Self::WriteAt { offset, .. } => *offset >= len,
            Self::SetLen(to) => *to >= len,
        }
    }
}

/// The writes that turn `old` into `new`; none if they are equal.
pub fn steps(old: &[u8], new: &[u8]) -> Vec<Step> {
    if old == new {
        return Vec::new();
    }
    if old.starts_with(new) && (new.is_empty() || new.ends_with(b"\n")) {
        return vec![Step::SetLen(new.len() as u64)];
    }
    let from = common_lines(old, new);
    let (before, after) = (&old[from..], &new[from..]);
    let mut tail = padding(old, from + after.len());
    let at = old.len() + tail.len();
    tail.extend_from_slice(Journal::describe(at, from, before, after).as_bytes());
    let copy_at = old.len() + tail.len();
    tail.extend_from_slice(&behind_hashes(after));
    let write = |offset: usize, bytes: Vec<u8>| Step::WriteAt { offset: offset as u64, bytes };
    vec![
        write(old.len(), tail),
        write(copy_at, after.to_vec()),
        // The byte before the journal is the newline that ends the line of hashes.
        write(from, vec![b'#'; at - 1 - from]),
        write(from, behind_hashes(after)),
        write(from, after.to_vec()),
        Step::SetLen(new.len() as u64),
    ]
}

/// The content that a rewrite in place was about to reach, or had started from, if it was cut short; otherwise the
/// content itself. Lines that others have appended since are kept.
pub fn recover(content: &[u8]) -> Cow<'_, [u8]> {
    let Some(journal) = Journal::find(content) else { return Cow::Borrowed(content) };
    let tail = &content[journal.end..];
    let (copy, appended) = tail.split_at_checked(journal.after.len).unwrap_or((tail, &[]));
    if journal.after == Extent::of(copy) {
        return Cow::Owned([&content[..journal.from], copy, appended].concat());
    }
    let old = &content[..journal.from + journal.before.len];
    if journal.before != Extent::of(&old[journal.from..]) {
        // Somebody else has rewritten the file; whatever is readable stays.
        return Cow::Borrowed(content);
    }
    let mut recovered = old.to_vec();
    // Cut short in step 2, all of the copy is ours; in step 1, it is so far as it is hidden.
    let step_2 = journal.hidden == Extent::of(&behind_hashes(copy));
    let foreign = if step_2 { appended } else { tail };
    for line in lines(foreign).filter(|line| Mapping::parse(line).is_some()) {
        if !recovered.ends_with(b"\n") && !recovered.is_empty() {
            recovered.push(b'\n');
        }
        recovered.extend_from_slice(line);
    }
    Cow::Owned(recovered)
}

/// The length of the longest common prefix that consists of whole lines.
fn common_lines(old: &[u8], new: &[u8]) -> usize {
    let common = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    old[..common].iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1)
}

/// What to put between `old` and the journal so that the journal starts a line, at or after `until`.
fn padding(old: &[u8], until: usize) -> Vec<u8> {
    let mut padding = Vec::new();
    if !old.is_empty() && !old.ends_with(b"\n") {
        padding.push(b'\n');
    }
    let missing = until.saturating_sub(old.len() + padding.len());
    if missing > 0 {
        padding.extend_from_slice(PADDING.as_bytes());
        let hashes = missing.saturating_sub(PADDING.len() + 1);
        padding.resize(padding.len() + hashes, b'#');
        padding.push(b'\n');
    }
    padding
}

/// The same number of bytes, but every line that is not empty a comment.
fn behind_hashes(text: &[u8]) -> Vec<u8> {
    let mut hidden = text.to_vec();
    let mut starts_line = true;
    for byte in &mut hidden {
        let ends_line = *byte == b'\n';
        if starts_line && !ends_line {
            *byte = b'#';
        }
        starts_line = ends_line;
    }
    hidden
}

/// A length and a checksum.
#[derive(Debug, PartialEq, Eq)]
struct Extent {
    len: usize,
    sum: u64,
}

impl Extent {
    /// The checksum is FNV-1a, 64 bits: it tells a torn write from a whole one, and need not resist an attacker,
    /// who could write to the hosts file as well.
    fn of(bytes: &[u8]) -> Self {
        let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self { len: bytes.len(), sum: bytes.iter().fold(0xcbf2_9ce4_8422_2325, step) }
    }
}

/// The line that says what a rewrite was about.
struct Journal {
    from: usize,
    before: Extent,
    after: Extent,
    /// Of what stands in place of `after` between steps 1 and 2.
    hidden: Extent,
    /// Where the line after it starts.
    end: usize,
}

impl Journal {
    fn describe(at: usize, from: usize, before: &[u8], after: &[u8]) -> String {
        let extents = [before, after, &behind_hashes(after)].map(Extent::of);
        let words = extents.map(|extent| format!(" {} {:016x}", extent.len, extent.sum));
        format!("{JOURNAL}{at} {from}{}\n", words.concat())
    }

    /// The last journal that still stands where it was written.
    fn find(content: &[u8]) -> Option<Self> {
        let mut start = 0;
        let mut found = None;
        for line in lines(content) {
            if line.starts_with(JOURNAL.as_bytes()) {
                found = Self::parse(line, start).or(found);
            }
            start += line.len();
        }
        found
    }

    fn parse(line: &[u8], start: usize) -> Option<Self> {
        let text = str::from_utf8(line).ok()?.strip_prefix(JOURNAL)?.strip_suffix('\n')?;
        let mut words = text.split(' ');
        let at: usize = words.next()?.parse().ok()?;
        let from: usize = words.next()?.parse().ok()?;
        let mut extent = || -> Option<Extent> {
            let len = words.next()?.parse().ok()?;
            Some(Extent { len, sum: u64::from_str_radix(words.next()?, 16).ok()? })
        };
        let (before, after, hidden) = (extent()?, extent()?, extent()?);
        let consistent = at == start && from.checked_add(before.len)? <= start;
        consistent.then_some(Self { from, before, after, hidden, end: start + line.len() })
    }
}
