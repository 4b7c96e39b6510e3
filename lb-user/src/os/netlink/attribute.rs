//! Netlink attributes: length and kind, 16 bits each, then the payload, padded to four bytes; netlink(7).

/// NLA_F_NESTED, include/uapi/linux/netlink.h.
const NESTED: u16 = 1 << 15;
/// NLA_TYPE_MASK, include/uapi/linux/netlink.h: without the flags.
const KIND: u16 = 0x3fff;
const HEADER: usize = 4;

/// A list of attributes, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds an attribute. The payload must be shorter than 64 KiB.
    pub(crate) fn bytes(mut self, kind: u16, payload: &[u8]) -> Self {
        self.0.extend_from_slice(&((HEADER + payload.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number; nf_tables wants all of them in network byte order.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string.
    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        let mut terminated = text.as_bytes().to_vec();
        terminated.push(0);
        self.bytes(kind, &terminated)
    }

    /// Adds attributes within an attribute.
    pub(crate) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// What goes into a message.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in a message of the kernel's, up to the first that is cut off.
pub(crate) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1, ..] = *bytes else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & KIND, payload))
    })
}

/// The payload of the first attribute of a kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find_map(|(found, payload)| (found == kind).then_some(payload))
}

/// A number in network byte order.
pub(crate) fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    find(bytes, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// A string, with or without a NUL at its end.
pub(crate) fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    find(bytes, kind).and_then(as_text)
}

/// A payload as a string.
pub(crate) fn as_text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload.strip_suffix(&[0]).unwrap_or(payload)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_can_be_read() {
        let inner = Attributes::default().number(2, 7);
        let attributes = Attributes::default().text(1, "vips").nested(3, &inner).bytes(4, b"abcde");
        let bytes = attributes.as_bytes();
        assert_eq!(text(bytes, 1), Some("vips"));
        assert_eq!(find(bytes, 3).and_then(|inner| number(inner, 2)), Some(7));
        assert_eq!(find(bytes, 4), Some(&b"abcde"[..]));
        assert_eq!(find(bytes, 5), None);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_list() {
        for broken in [&[200, 0, 1, 0][..], &[0, 0, 1, 0], &[3, 0, 1, 0], &[4], &[]] {
            assert_eq!(read(broken).count(), 0, "{broken:?}");
        }
    }
}
