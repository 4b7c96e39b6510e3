//! What the kernel sends on NETLINK_NETFILTER: objects, acknowledgements, refusals.

use std::io;

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use rustix::io::Errno;

use crate::os::netlink::attribute;

/// struct nlmsghdr, and struct nfgenmsg after it.
pub(super) const HEADER: usize = 16;
pub(super) const FAMILY_HEADER: usize = 4;
/// NLM_F_CAPPED and NLMSGERR_ATTR_MSG, include/uapi/linux/netlink.h.
const CAPPED: u16 = 0x100;
const ERROR_TEXT: u16 = 1;

/// One object that the kernel told of.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) family: u8,
    pub(crate) attributes: Vec<u8>,
}

/// The kernel's no.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Which message of a transaction it was about; `None`: about all of it.
    pub(crate) message: Option<usize>,
    /// The cause, without or with the kernel's own words.
    pub(crate) cause: io::Error,
    /// NLMSGERR_ATTR_MSG: what the kernel has to say beyond the number.
    pub(crate) words: Option<String>,
}

impl From<io::Error> for Refusal {
    fn from(cause: io::Error) -> Self {
        Self { message: None, cause, words: None }
    }
}

/// One message of the kernel's.
pub(super) enum Reply {
    Object { object: Object, interrupted: bool },
    Acknowledged,
    Refused(Refusal),
    Done,
}

/// The messages of one datagram, each with its sequence number.
pub(super) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<(u32, Reply)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = match NetlinkBuffer::new_checked(bytes) {
            Ok(message) => message,
            Err(e) => {
                bytes = &[];
                return Some(Err(io::Error::other(e)));
            }
        };
        bytes = bytes.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((message.sequence_number(), reply(&message))))
    })
}

fn reply(message: &NetlinkBuffer<&[u8]>) -> Reply {
    let payload = message.payload();
    match message.message_type() {
        NLMSG_DONE => Reply::Done,
        NLMSG_ERROR => match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(0) => Reply::Acknowledged,
            code => Reply::Refused(Refusal {
                message: None,
                cause: io::Error::from_raw_os_error(
                    code.unwrap_or(-Errno::PROTO.raw_os_error()).saturating_abs(),
                ),
                words: words(message.flags(), payload),
            }),
        },
        _ => Reply::Object {
            object: Object {
                family: payload.first().copied().unwrap_or_default(),
                attributes: payload.get(FAMILY_HEADER..).unwrap_or_default().to_vec(),
            },
            interrupted: message.flags() & NLM_F_DUMP_INTR != 0,
        },
    }
}

/// The kernel's own words stand after the code and the header, capped, of the message that it is about.
fn words(flags: u16, payload: &[u8]) -> Option<String> {
    let attributes = payload.get(4 + HEADER..).filter(|_| flags & CAPPED != 0)?;
    attribute::text(attributes, ERROR_TEXT).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::netlink::{attribute::Attributes, is};

    fn refused(flags: u16, rest: &[u8]) -> Vec<u8> {
        let payload = [&(-2_i32).to_ne_bytes()[..], &[0; HEADER], rest].concat();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&7_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&payload);
        bytes
    }

    #[test]
    fn a_refusal_carries_the_kernels_own_words() {
        let words = Attributes::default().text(ERROR_TEXT, "too bad");
        let bytes = refused(CAPPED, words.as_bytes());
        let all: Vec<_> = replies(&bytes).collect();
        assert!(matches!(
            &all[..],
            [Ok((7, Reply::Refused(Refusal { message: None, cause, words: Some(words) })))]
                if is(cause, Errno::NOENT) && words == "too bad"
        ));
    }

    #[test]
    fn a_refusal_without_words_is_one_all_the_same() {
        for (flags, rest) in [(0, &b"0123456789abcdef"[..]), (CAPPED, &[])] {
            let bytes = refused(flags, rest);
            let all: Vec<_> = replies(&bytes).collect();
            assert!(matches!(&all[..], [Ok((7, Reply::Refused(Refusal { words: None, .. })))]));
        }
    }

    #[test]
    fn a_datagram_that_is_cut_off_is_an_error_and_ends() {
        let bytes = refused(0, &[]);
        for length in 1..bytes.len() {
            assert_eq!(replies(&bytes[..length]).filter(Result::is_err).count(), 1, "{length}");
        }
    }
}
