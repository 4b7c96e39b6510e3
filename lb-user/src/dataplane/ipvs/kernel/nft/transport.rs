//! NETLINK_NETFILTER: single questions, dumps and transactions; include/uapi/linux/netfilter/nfnetlink.h.

use std::{
    io,
    time::{Duration, Instant},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

use super::{
    super::rtnl::{as_timeout, is, no_answer},
    attribute::{self, Attributes},
};

/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// struct nlmsghdr, and struct nfgenmsg after it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// NLM_F_CAPPED and NLMSGERR_ATTR_MSG, include/uapi/linux/netlink.h.
const CAPPED: u16 = 0x100;
const ERROR_TEXT: u16 = 1;

/// Validating a transaction takes milliseconds, but its end waits for an RCU grace period.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than the 32 KiB that the kernel sends in one go (NLMSG_GOODSIZE).
const BUFFER: usize = 64 * 1024;
/// The most objects of a dump that are kept, a bound on memory: kube-proxy makes some 20 chains for each service.
const MAX_OBJECTS: usize = 262_144;
/// How often a dump starts over because something changed under it. The last one is taken as it is.
const ATTEMPTS: usize = 5;

/// One request to nf_tables.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// enum nf_tables_msg_types.
    pub(super) kind: u16,
    /// NLM_F_CREATE and the like, beside NLM_F_REQUEST and NLM_F_ACK.
    pub(super) flags: u16,
    /// NFPROTO_IPV4, NFPROTO_IPV6, or 0 for all.
    pub(super) family: u8,
    pub(super) attributes: Attributes,
}

/// One object that the kernel told of.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) family: u8,
    pub(super) attributes: Vec<u8>,
}

/// The kernel's no.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Which message of a transaction it was about; `None`: about all of it.
    pub(super) message: Option<usize>,
    /// The cause, without or with the kernel's own words.
    pub(super) cause: io::Error,
    /// NLMSGERR_ATTR_MSG: what the kernel has to say beyond the number.
    pub(super) words: Option<String>,
}

impl From<io::Error> for Refusal {
    fn from(cause: io::Error) -> Self {
        Self { message: None, cause, words: None }
    }
}

/// An open NETLINK_NETFILTER socket.
pub(super) struct Nfnl {
    socket: Socket,
    sequence: u32,
}

impl Nfnl {
    /// Opens the socket; [`io::ErrorKind::Unsupported`] if the kernel lacks nfnetlink.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(|e| {
            let unknown = [Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT].iter().any(|errno| is(&e, *errno));
            if unknown { lacking() } else { e }
        })?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for one object; `None`: it does not exist.
    pub(super) fn get(&mut self, message: &Message) -> io::Result<Option<Object>> {
        let mut found = None;
        let asked = self.question(message, 0, |object| found = Some(object));
        exists(asked).map(|asked| asked.and(found))
    }

    /// Asks for all objects that fit; `None`: what should contain them does not exist.
    pub(super) fn dump(&mut self, message: &Message) -> io::Result<Option<Vec<Object>>> {
        let mut attempt = 1;
        loop {
            let mut objects = Vec::new();
            let asked = self.question(message, NLM_F_DUMP, |object| {
                if objects.len() < MAX_OBJECTS {
                    objects.push(object);
                }
            });
            match exists(asked)? {
                Some(whole) if whole || attempt == ATTEMPTS => return Ok(Some(objects)),
                Some(_) => attempt += 1,
                None => return Ok(None),
            }
        }
    }

    /// Makes all changes or none.
    pub(super) fn commit(&mut self, messages: &[Message]) -> Result<(), Refusal> {
        let begin = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        self.control(&mut bytes, BATCH_BEGIN);
        for message in messages {
            self.write(&mut bytes, message, NLM_F_ACK);
        }
        let last = self.sequence;
        self.control(&mut bytes, BATCH_END);
        self.send(&bytes)?;
        // An error on the beginning is one on all of it; without one, each message is acknowledged, in their order.
        let index = |sequence: u32| (sequence.wrapping_sub(begin) as usize).checked_sub(1);
        let started = Instant::now();
        let mut buffer = Vec::with_capacity(BUFFER);
        while started.elapsed() < DEADLINE {
            self.receive(&mut buffer)?;
            for reply in replies(&buffer) {
                let (sequence, reply) = reply?;
                match reply {
                    Reply::Acknowledged if sequence == last => return Ok(()),
                    Reply::Refused(refusal) => return Err(Refusal { message: index(sequence), ..refusal }),
                    Reply::Acknowledged | Reply::Done | Reply::Object { .. } => {}
                }
            }
        }
        Err(no_answer().into())
    }

    /// Whether the answer is of one piece: nothing changed while the kernel was collecting it.
    fn question(
        &mut self,
        message: &Message,
        flags: u16,
        mut each: impl FnMut(Object),
    ) -> Result<bool, Refusal> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, message, flags | if flags == 0 { NLM_F_ACK } else { 0 });
        self.send(&bytes)?;
        let (started, mut whole) = (Instant::now(), true);
        let mut buffer = Vec::with_capacity(BUFFER);
        while started.elapsed() < DEADLINE {
            self.receive(&mut buffer)?;
            for reply in replies(&buffer) {
                match reply? {
                    (sequence, _) if sequence != self.sequence => {}
                    (_, Reply::Object { object, interrupted }) => {
                        whole &= !interrupted;
                        each(object);
                    }
                    (_, Reply::Done | Reply::Acknowledged) => return Ok(whole),
                    (_, Reply::Refused(refusal)) => return Err(refusal),
                }
            }
        }
        Err(no_answer().into())
    }

    fn control(&mut self, bytes: &mut Vec<u8>, kind: u16) {
        self.frame(bytes, kind, NLM_F_REQUEST, [0, 0], SUBSYSTEM, &[]);
    }

    fn write(&mut self, bytes: &mut Vec<u8>, message: &Message, flags: u16) {
        let kind = SUBSYSTEM << 8 | message.kind;
        let flags = NLM_F_REQUEST | message.flags | flags;
        self.frame(bytes, kind, flags, [message.family, 0], 0, message.attributes.as_bytes());
    }

    /// struct nlmsghdr; struct nfgenmsg: family, version, resource in network byte order; attributes.
    fn frame(
        &mut self,
        bytes: &mut Vec<u8>,
        kind: u16,
        flags: u16,
        family: [u8; 2],
        resource: u16,
        rest: &[u8],
    ) {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + FAMILY_HEADER + rest.len();
        bytes.extend_from_slice(&(length as u32).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&family);
        bytes.extend_from_slice(&resource.to_be_bytes());
        bytes.extend_from_slice(rest);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        self.socket.recv(buffer, 0).map(drop).map_err(as_timeout)
    }
}

enum Reply {
    Object { object: Object, interrupted: bool },
    Acknowledged,
    Refused(Refusal),
    Done,
}

/// The messages of one datagram, each with its sequence number.
fn replies(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<(u32, Reply)>> {
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

fn exists(asked: Result<bool, Refusal>) -> io::Result<Option<bool>> {
    match asked {
        Ok(whole) => Ok(Some(whole)),
        Err(refusal) if is(&refusal.cause, Errno::NOENT) => Ok(None),
        // A question's answer when the subsystem is unknown, net/netfilter/nfnetlink.c; nf_tables itself finds no fault
        // with ours.
        Err(refusal) if is(&refusal.cause, Errno::INVAL) => Err(lacking()),
        Err(refusal) => Err(refusal.cause),
    }
}

/// The kernel has no nf_tables, and could not load it.
pub(super) fn lacking() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the kernel lacks nf_tables (hint: load the module nf_tables, or use a kernel with CONFIG_NF_TABLES)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
