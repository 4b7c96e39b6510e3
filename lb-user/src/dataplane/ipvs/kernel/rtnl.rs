//! One question to NETLINK_ROUTE, rtnetlink(7), and its answer.

use std::{
    io,
    time::{Duration, Instant},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

/// The kernel answers at once; silence means that something is broken.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than the 32 KiB that the kernel sends in one go (NLMSG_GOODSIZE).
const BUFFER: usize = 64 * 1024;
/// The most messages of an answer that are kept, a bound on memory: what is asked for here is filtered by the kernel.
const MAX_MESSAGES: usize = 65_536;
/// How often a dump starts over because something changed under it. The last one is taken as it is.
const ATTEMPTS: usize = 5;

/// An open NETLINK_ROUTE socket.
pub(super) struct Rtnl {
    socket: Socket,
    sequence: u32,
}

impl Rtnl {
    /// Opens the socket. The kernel checks requests strictly, and so honours the filters in them (Linux 4.20).
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change, or for one thing, and waits until it is acknowledged. `flags` beside NLM_F_REQUEST and
    /// NLM_F_ACK.
    pub(super) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut answer = None;
        self.exchange(message, flags | NLM_F_ACK, |message| answer = Some(message))?;
        Ok(answer)
    }

    /// Asks for everything that fits `message`.
    pub(super) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut attempt = 1;
        loop {
            let mut answers = Vec::new();
            let whole = self.exchange(message.clone(), NLM_F_DUMP, |message| {
                if answers.len() < MAX_MESSAGES {
                    answers.push(message);
                }
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
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<bool> {
        self.send(message, flags)?;
        let (started, mut whole) = (Instant::now(), true);
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0).map_err(as_timeout)?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let length = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?.length() as usize;
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_abs()));
                    }
                    NetlinkPayload::Done(_) => return Ok(whole),
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(whole), |code| {
                            Err(io::Error::from_raw_os_error(code.get().saturating_abs()))
                        });
                    }
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

/// A receive time-out, SO_RCVTIMEO, shows as EAGAIN.
pub(super) fn as_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { no_answer() } else { error }
}

pub(super) fn no_answer() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the kernel did not answer within {} s", DEADLINE.as_secs()),
    )
}

/// Whether the error is this one.
pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
