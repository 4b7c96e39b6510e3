//! One question to NETLINK_ROUTE, rtnetlink(7), and its answer.

use std::{io, time::Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkMessage, ParseableParametrized as _,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{BUFFER, DEADLINE, as_timeout, no_answer};

/// The most messages of an answer that are kept, a bound on memory: what is asked for here is filtered by the kernel.
const MAX_MESSAGES: usize = 65_536;
/// What is below are control messages, include/uapi/linux/netlink.h.
const NLMSG_MIN_TYPE: u16 = 0x10;
/// How often a dump starts over because something changed under it. The last one is taken as it is.
const ATTEMPTS: usize = 5;

/// An open NETLINK_ROUTE socket.
pub(crate) struct Rtnl {
    socket: Socket,
    sequence: u32,
}

impl Rtnl {
    /// Opens the socket. The kernel checks requests strictly, and so honours the filters in them (Linux 4.20).
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change, or for one thing, and waits until it is acknowledged. `flags` beside NLM_F_REQUEST and
    /// NLM_F_ACK.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.ask_flagged(message, flags, typed)
    }

    /// Asks for one thing, and reads the answer's payload by oneself, as [`Self::dump_with`].
    pub(crate) fn ask_with<T>(
        &mut self,
        message: RouteNetlinkMessage,
        read: impl Fn(u16, &[u8]) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        self.ask_flagged(message, 0, read)
    }

    fn ask_flagged<T>(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        read: impl Fn(u16, &[u8]) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let mut answer = None;
        self.exchange(message, flags | NLM_F_ACK, |kind, payload| {
            answer = Some(read(kind, payload)?);
            Ok(())
        })?;
        Ok(answer)
    }

    /// Asks for everything that fits `message`.
    pub(crate) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.dump_with(message, typed)
    }

    /// Asks for everything that fits `message`, and reads each answer's payload by oneself: what others have set up may
    /// have attributes that no library knows.
    pub(crate) fn dump_with<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        read: impl Fn(u16, &[u8]) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let mut attempt = 1;
        loop {
            let mut answers = Vec::new();
            let whole = self.exchange(message.clone(), NLM_F_DUMP, |kind, payload| {
                if answers.len() < MAX_MESSAGES {
                    answers.push(read(kind, payload)?);
                }
                Ok(())
            })?;
            if whole || attempt == ATTEMPTS {
                return Ok(answers);
            }
            attempt += 1;
        }
    }

    /// Whether the answer is of one piece: nothing changed while the kernel was collecting it.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(u16, &[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        self.send(message, flags)?;
        let (started, mut whole) = (Instant::now(), true);
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0).map_err(as_timeout)?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
                if message.sequence_number() != self.sequence {
                    continue;
                }
                whole &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    NLMSG_DONE | NLMSG_ERROR => return code(message.payload()).map(|()| whole),
                    kind if kind >= NLMSG_MIN_TYPE => each(kind, message.payload())?,
                    _ => {}
                }
            }
            if started.elapsed() > DEADLINE {
                return Err(no_answer());
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let sent = self.socket.send(&bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn typed(kind: u16, payload: &[u8]) -> io::Result<RouteNetlinkMessage> {
    RouteNetlinkMessage::parse_with_param(payload, kind).map_err(io::Error::other)
}

/// What an answer ends with: 0, or a negative errno. A dump's end may go without.
fn code(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_abs())),
        Some(_) | None => Ok(()),
    }
}
