//! NETLINK_NETFILTER: single questions, dumps and transactions of nf_tables; include/uapi/linux/netfilter/nfnetlink.h.

mod reply;

use std::{
    io,
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

use self::reply::{FAMILY_HEADER, HEADER, Reply, replies};
pub(crate) use self::reply::{Object, Refusal};
use super::{as_timeout, attribute::Attributes, is, no_answer};

/// enum nf_tables_msg_types, include/uapi/linux/netfilter/nf_tables.h.
pub(crate) mod kind {
    pub(crate) const NEW_TABLE: u16 = 0;
    pub(crate) const GET_TABLE: u16 = 1;
    pub(crate) const DELETE_TABLE: u16 = 2;
    pub(crate) const NEW_CHAIN: u16 = 3;
    pub(crate) const GET_CHAIN: u16 = 4;
    pub(crate) const NEW_RULE: u16 = 6;
    pub(crate) const GET_RULE: u16 = 7;
    pub(crate) const NEW_SET: u16 = 9;
    pub(crate) const GET_SET: u16 = 10;
    pub(crate) const NEW_SET_ELEMENT: u16 = 12;
    pub(crate) const GET_SET_ELEMENT: u16 = 13;
    pub(crate) const DELETE_SET_ELEMENT: u16 = 14;
}

/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

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
pub(crate) struct Message {
    /// enum nf_tables_msg_types.
    pub(crate) kind: u16,
    /// NLM_F_CREATE and the like, beside NLM_F_REQUEST and NLM_F_ACK.
    pub(crate) flags: u16,
    /// NFPROTO_IPV4, NFPROTO_IPV6, or 0 for all.
    pub(crate) family: u8,
    pub(crate) attributes: Attributes,
}

/// An open NETLINK_NETFILTER socket.
pub(crate) struct Nfnl {
    socket: Socket,
    sequence: u32,
}

impl Nfnl {
    /// Opens the socket; [`io::ErrorKind::Unsupported`] if the kernel lacks nfnetlink.
    pub(crate) fn open() -> io::Result<Self> {
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
    pub(crate) fn get(&mut self, message: &Message) -> io::Result<Option<Object>> {
        let mut found = None;
        let asked = self.question(message, 0, |object| found = Some(object));
        exists(asked).map(|asked| asked.and(found))
    }

    /// Asks for all objects that fit; `None`: what should contain them does not exist.
    pub(crate) fn dump(&mut self, message: &Message) -> io::Result<Option<Vec<Object>>> {
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
    pub(crate) fn commit(&mut self, messages: &[Message]) -> Result<(), Refusal> {
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
pub(crate) fn lacking() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the kernel lacks nf_tables (hint: load the module nf_tables, or use a kernel with CONFIG_NF_TABLES)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_nf_tables_is_told_from_one_without_the_object() {
        let refused = |errno: Errno| Err(Refusal::from(io::Error::from(errno)));
        assert_eq!(exists(refused(Errno::NOENT)).unwrap(), None);
        assert_eq!(exists(refused(Errno::INVAL)).unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(exists(refused(Errno::PERM)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
