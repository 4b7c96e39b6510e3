//! Requests to the kernel over generic netlink, one at a time, each answered within a deadline.

use std::{
    io,
    time::{Duration, Instant},
};

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkMessage, NetlinkPayload, NlasIterator, Parseable as _, ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers at once, unless another program holds IPVS's lock for long; silence means that something is
/// broken.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than the 32 KiB that the kernel sends in one go (NLMSG_GOODSIZE).
const BUFFER: usize = 64 * 1024;
/// The most entries of one answer, a bound on memory (about 20 MiB): kube-proxy in IPVS mode makes a service for each
/// port of each Kubernetes service, and Kubernetes is tested with up to 10,000 of them.
const MAX_ENTRIES: usize = 65_536;
/// How often a dump starts over because its subject changed under it. The last one is taken as it is.
const DUMPS: usize = 5;

/// What carries datagrams to the kernel and back.
pub trait Transport {
    /// Sends one datagram.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Puts the next datagram into an empty buffer. Fails with [`io::ErrorKind::TimedOut`] when none comes.
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()>;
}

/// A NETLINK_GENERIC socket. It belongs to the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink(Socket);

impl Netlink {
    /// Opens the socket. It is connected to the kernel: nobody else can answer.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
        Ok(Self(socket))
    }
}

impl Transport for Netlink {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.0.send(bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.reserve(BUFFER);
        match self.0.recv(buffer, 0) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(no_answer()),
            Err(error) => Err(error),
        }
    }
}

/// One message of any family: its attributes are read by those who know what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is asked for, or what it is.
    pub command: u8,
    /// Its attributes.
    pub attributes: Vec<DefaultNla>,
}

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        "any"
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Message {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let attributes = NlasIterator::new(bytes).map(|nla| DefaultNla::parse(&nla?));
        Ok(Self { command: header.cmd, attributes: attributes.collect::<Result<_, _>>()? })
    }
}

/// Whether one thing is asked for, or all of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One; the kernel acknowledges.
    One,
    /// All.
    All,
}

/// Asks, and gives the answer's messages.
#[derive(Debug)]
pub struct Wire<T> {
    transport: T,
    sequence: u32,
}

impl<T: Transport> Wire<T> {
    /// Asks over this transport.
    pub fn new(transport: T) -> Self {
        Self { transport, sequence: 0 }
    }

    /// Sends a message to a family and gives what the kernel answers.
    pub fn ask(&mut self, family: u16, message: &Message, extent: Extent) -> io::Result<Vec<Message>> {
        for _ in 1..DUMPS {
            let (answer, interrupted) = self.exchange(family, message, extent)?;
            if !interrupted {
                return Ok(answer);
            }
        }
        Ok(self.exchange(family, message, extent)?.0)
    }

    /// One request with its answer, and whether the subject changed under it.
    fn exchange(
        &mut self,
        family: u16,
        message: &Message,
        extent: Extent,
    ) -> io::Result<(Vec<Message>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        self.transport.send(&encode(family, message.clone(), extent, self.sequence))?;
        let mut answer = Answer { sequence: self.sequence, messages: Vec::new(), interrupted: false };
        let mut buffer = Vec::new();
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            buffer.clear();
            self.transport.receive(&mut buffer)?;
            if answer.read(&buffer)? {
                return Ok((answer.messages, answer.interrupted));
            }
        }
        Err(no_answer())
    }
}

fn encode(family: u16, message: Message, extent: Extent, sequence: u32) -> Vec<u8> {
    let header = GenlHeader { cmd: message.command(), version: message.version() };
    let mut message = NetlinkMessage::from(GenlMessage::new(header, message, family));
    message.header.flags = match extent {
        Extent::One => NLM_F_REQUEST | NLM_F_ACK,
        Extent::All => NLM_F_REQUEST | NLM_F_DUMP,
    };
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

struct Answer {
    sequence: u32,
    messages: Vec<Message>,
    interrupted: bool,
}

impl Answer {
    /// Reads one datagram; whether it was the last. What belongs to an earlier request, which was given up, is passed
    /// over.
    fn read(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            let length = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?.length() as usize;
            let message =
                NetlinkMessage::<GenlMessage<Message>>::deserialize(bytes).map_err(io::Error::other)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue;
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(_) if self.messages.len() >= MAX_ENTRIES => {
                    return Err(io::Error::other(format!("more than {MAX_ENTRIES} entries")));
                }
                NetlinkPayload::InnerMessage(message) => self.messages.push(message.into_parts().1),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_abs()));
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok(false)
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", DEADLINE.as_secs()))
}
