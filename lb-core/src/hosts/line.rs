//! One line of a hosts file, read the way resolvers read it.

/// The lines of a file, each with its newline; only the last one may lack it.
pub(super) fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split_inclusive(|b| *b == b'\n')
}

/// A line's text and its ending: `\n`, `\r\n` or nothing.
pub(super) fn split_ending(raw: &[u8]) -> (&[u8], &[u8]) {
    let text = match raw.strip_suffix(b"\n") {
        Some(text) => text.strip_suffix(b"\r").unwrap_or(text),
        None => raw,
    };
    raw.split_at(text.len())
}

/// What a line says to a resolver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    pub(super) address: &'a [u8],
    /// The canonical name and its aliases; never empty.
    pub(super) names: Vec<&'a [u8]>,
}

impl<'a> Mapping<'a> {
    /// None for a blank line, a comment, and a line that no resolver takes for a mapping.
    ///
    /// Fields are separated by what C's `isspace` takes for space, and by NUL, where C stops reading the line.
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        let data = raw.split(|b| *b == b'#').next().unwrap_or_default();
        let mut fields = data.split(|b| is_blank(*b)).filter(|field| !field.is_empty());
        let address = fields.next().filter(|field| resembles_address(field))?;
        let names: Vec<_> = fields.collect();
        if names.is_empty() { None } else { Some(Self { address, names }) }
    }

    /// The mapping without the names that `taken` picks, as a line's text; None if no name remains.
    pub(super) fn without(&self, taken: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut text = self.address.to_vec();
        for name in self.names.iter().filter(|name| !taken(name)) {
            text.push(b' ');
            text.extend_from_slice(name);
        }
        (text.len() > self.address.len()).then_some(text)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0)
}

/// Broader than inet_pton: musl also takes inet_aton's short forms (`10.1`, `0x7f.1`), and a scope may follow `%`.
fn resembles_address(field: &[u8]) -> bool {
    let number = field.split(|b| *b == b'%').next().unwrap_or_default();
    !number.is_empty()
        && number.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b':' | b'x' | b'X'))
}
