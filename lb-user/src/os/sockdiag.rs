//! Ending sockets: NETLINK_SOCK_DIAG, sock_diag(7), and SOCK_DESTROY (Linux 4.9, CONFIG_INET_DIAG_DESTROY).

use std::{collections::BTreeSet, io, net, time::Duration};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla as _};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

/// SOCK_DESTROY, include/uapi/linux/sock_diag.h.
const SOCK_DESTROY: u16 = 21;
/// INET_DIAG_REQ_SK_BPF_STORAGES, include/uapi/linux/inet_diag.h (Linux 5.7): ask for the values in a socket storage.
const REQ_SK_BPF_STORAGES: u16 = 2;
/// SK_DIAG_BPF_STORAGE_REQ_MAP_FD, include/uapi/linux/sock_diag.h.
const STORAGE_REQ_MAP_FD: u16 = 1;
/// INET_DIAG_SK_BPF_STORAGES, include/uapi/linux/inet_diag.h: the answer.
const SK_BPF_STORAGES: u16 = 20;
/// SK_DIAG_BPF_STORAGE, include/uapi/linux/sock_diag.h: one map's part of the answer.
const STORAGE: u16 = 1;
/// SK_DIAG_BPF_STORAGE_MAP_VALUE, include/uapi/linux/sock_diag.h.
const STORAGE_MAP_VALUE: u16 = 3;
/// NLA_F_NESTED, include/uapi/linux/netlink.h.
const NLA_F_NESTED: u16 = 1 << 15;
/// NLA_TYPE_MASK, include/uapi/linux/netlink.h: without the flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// The kernel answers at once; silence means that something is broken.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than the 32 KiB that the kernel sends in one go (NLMSG_GOODSIZE).
const BUFFER: usize = 64 * 1024;
/// The most sockets that one sweep collects: above any node's number of connections to apiservers, and a bound on
/// memory (about 10 MiB).
const MAX_SOCKETS: usize = 100_000;

/// The kernel tells how long ago something was in ticks, of up to 10 ms (CONFIG_HZ).
pub const TICK: Duration = Duration::from_millis(20);

/// A TCP socket of this network namespace.
#[derive(Clone, Debug)]
pub struct TcpSocket {
    family: u8,
    id: SocketId,
    /// Its own address, a v4-mapped one in its IPv4 form.
    pub own: net::SocketAddr,
    /// Whom it talks to, likewise.
    pub peer: net::SocketAddr,
    /// How far it has come, where the kernel says so.
    pub progress: Option<Progress>,
    /// The bytes that a socket storage map has for it, where one was asked about.
    pub stored: Option<Vec<u8>>,
}

impl TcpSocket {
    /// What the kernel knows the socket by, as long as this host runs: no other one has had it or will.
    pub fn cookie(&self) -> [u8; 8] {
        self.id.cookie
    }

    fn new(family: u8, response: &InetResponse) -> Self {
        let id = response.header.socket_id.clone();
        let (own, peer) = (own_of(&id), peer_of(&id));
        let (progress, stored) = (progress_of(response), storage_value(response));
        Self { family, id, own, peer, progress, stored }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its SYN has not been answered.
    pub connecting: bool,
    /// Segments that its peer has not acknowledged.
    pub unacknowledged: u32,
    /// Bytes that it ever received.
    pub received: u64,
    /// Since it last sent data; before it has sent any, since it was connected.
    pub sent_ago: Duration,
    /// Since it last received data; means nothing while `received` is 0.
    pub received_ago: Duration,
}

impl Progress {
    /// How long ago it last received something, if it has since then.
    pub fn heard_within(&self, time: Duration) -> Option<Duration> {
        (self.received > 0 && self.received_ago + TICK < time).then_some(self.received_ago)
    }

    /// TCP_SYN_SENT, include/net/tcp_states.h.
    const SYN_SENT: u8 = 2;

    /// From a socket's state and its struct tcp_info, include/uapi/linux/tcp.h: tcpi_unacked, tcpi_last_data_sent,
    /// tcpi_last_data_recv (both in ms) and tcpi_bytes_received (Linux 4.1).
    fn parse(state: u8, info: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
        let millis = |at| word(at).map(|millis| Duration::from_millis(millis.into()));
        Some(Self {
            connecting: state == Self::SYN_SENT,
            unacknowledged: word(24)?,
            sent_ago: millis(44)?,
            received_ago: millis(52)?,
            received: u64::from_ne_bytes(info.get(128..136)?.try_into().ok()?),
        })
    }
}

/// How a socket was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By us.
    Now,
    /// It was gone already.
    Gone,
}

/// An open NETLINK_SOCK_DIAG socket. It belongs to the network namespace of the thread that opened it.
pub struct SockDiag {
    socket: Socket,
}

impl SockDiag {
    /// Opens the socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
        Ok(Self { socket })
    }

    /// Every TCP socket, of IPv4 and IPv6, that has a value in the socket storage map behind `map_fd`, and that is
    /// connecting or connected. TIME_WAIT sockets hang on nobody.
    pub fn tracked(&self, map_fd: i32) -> io::Result<Vec<TcpSocket>> {
        self.dump(|family| with_storages(request(family), map_fd), |socket| socket.stored.is_some())
    }

    /// Every TCP socket, of IPv4 and IPv6, that is connecting or connected, and that is wanted. TIME_WAIT sockets hang on
    /// nobody.
    pub fn connected(&self, is_wanted: impl Fn(&TcpSocket) -> bool) -> io::Result<Vec<TcpSocket>> {
        self.dump(request, is_wanted)
    }

    fn dump(
        &self,
        request: impl Fn(u8) -> Vec<u8>,
        is_wanted: impl Fn(&TcpSocket) -> bool,
    ) -> io::Result<Vec<TcpSocket>> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            self.send(&request(family))?;
            self.receive(|response| {
                let socket = TcpSocket::new(family, response);
                if found.len() < MAX_SOCKETS && is_wanted(&socket) {
                    found.push(socket);
                }
            })?;
        }
        Ok(found)
    }

    /// How far one connection has come; `None`: it is gone.
    pub fn progress(&self, own: net::SocketAddr, peer: net::SocketAddr) -> io::Result<Option<Progress>> {
        let family = if own.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut asked = inet_request(family);
        asked.socket_id = SocketId {
            source_port: own.port(),
            destination_port: peer.port(),
            source_address: own.ip(),
            destination_address: peer.ip(),
            // INET_DIAG_NOCOOKIE, include/uapi/linux/inet_diag.h: whichever it is.
            cookie: [0xff; 8],
            ..asked.socket_id
        };
        self.send(&serialize(asked, NLM_F_REQUEST | NLM_F_ACK))?;
        let mut found = None;
        match self.receive(|response| found = progress_of(response)) {
            Ok(()) => Ok(found),
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// How long ago the last data came from `peer`, on any connection of this network namespace that is open; `None`: none
    /// came within `time`.
    pub fn last_heard(
        &self,
        peer: net::SocketAddr,
        time: Duration,
        but: &BTreeSet<net::SocketAddr>,
    ) -> io::Result<Option<Duration>> {
        // The kernel compares the port, and passes the others by.
        let request = |family| {
            let mut asked = inet_request(family);
            asked.socket_id.destination_port = peer.port();
            serialize(asked, NLM_F_REQUEST | NLM_F_DUMP)
        };
        let sockets = self.dump(request, |socket| socket.peer == peer && !but.contains(&socket.own))?;
        Ok(sockets.into_iter().filter_map(|socket| socket.progress?.heard_within(time)).min())
    }

    /// Ends a socket: its owner gets ECONNABORTED, its peer a RST.
    pub fn destroy(&self, socket: &TcpSocket) -> io::Result<Ended> {
        self.destroy_id(socket.family, &socket.id)
    }

    fn destroy_id(&self, family: u8, id: &SocketId) -> io::Result<Ended> {
        let body = InetRequest { socket_id: id.clone(), ..inet_request(family) };
        let mut bytes = serialize(body, NLM_F_REQUEST | NLM_F_ACK);
        bytes[4..6].copy_from_slice(&SOCK_DESTROY.to_ne_bytes());
        self.send(&bytes)?;
        match self.receive(|_| {}) {
            Ok(()) => Ok(Ended::Now),
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(Ended::Gone),
            Err(e) => Err(e),
        }
    }

    /// Whether the kernel can end sockets. A socket that cannot exist is asked for: ENOENT says yes, EOPNOTSUPP no.
    pub fn can_destroy(&self) -> io::Result<bool> {
        match self.destroy_id(AF_INET, &SocketId::new_v4()) {
            Ok(_) => Ok(true),
            Err(e) if e.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Reads one answer to its end: a dump's NLMSG_DONE, or an acknowledgement.
    fn receive(&self, mut each: impl FnMut(&InetResponse)) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.as_slice();
            while rest.len() >= 16 {
                let message =
                    NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
                match &message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => each(response),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(()), |code| {
                            Err(io::Error::from_raw_os_error(code.get().saturating_abs()))
                        });
                    }
                    _ => {}
                }
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(16)..).unwrap_or_default();
            }
        }
    }
}

fn own_of(id: &SocketId) -> net::SocketAddr {
    net::SocketAddr::new(id.source_address.to_canonical(), id.source_port)
}

fn peer_of(id: &SocketId) -> net::SocketAddr {
    net::SocketAddr::new(id.destination_address.to_canonical(), id.destination_port)
}

fn progress_of(response: &InetResponse) -> Option<Progress> {
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    })?;
    Progress::parse(response.header.state, info)
}

fn inet_request(family: u8) -> InetRequest {
    let states = StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT - StateFlags::CLOSE;
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    InetRequest { family, protocol: IPPROTO_TCP, extensions: ExtensionFlags::INFO, states, socket_id }
}

fn request(family: u8) -> Vec<u8> {
    serialize(inet_request(family), NLM_F_REQUEST | NLM_F_DUMP)
}

fn serialize(body: InetRequest, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(body));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Appends the nested attribute that asks for a storage map's values, which netlink-packet-sock-diag does not know.
fn with_storages(mut request: Vec<u8>, map_fd: i32) -> Vec<u8> {
    for word in [12, REQ_SK_BPF_STORAGES | NLA_F_NESTED, 8, STORAGE_REQ_MAP_FD] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    request.extend_from_slice(&map_fd.to_ne_bytes());
    let length = request.len() as u32;
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request
}

fn storage_value(response: &InetResponse) -> Option<Vec<u8>> {
    let answer = response.nlas.iter().find(|nla| nla.kind() & NLA_TYPE_MASK == SK_BPF_STORAGES)?;
    let mut bytes = vec![0; answer.value_len()];
    answer.emit_value(&mut bytes);
    let storage = attribute(&bytes, STORAGE)?;
    Some(attribute(storage, STORAGE_MAP_VALUE)?.to_vec())
}

/// The payload of the first attribute of a kind: length and kind, 16 bits each, then the payload, padded to four.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while let [l0, l1, k0, k1, ..] = *bytes {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = bytes.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK == kind {
            return Some(payload);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_a_padded_one() {
        let mut bytes = Vec::new();
        for (kind, payload) in [(2_u16, &b"abcde"[..]), (3, b"xy")] {
            bytes.extend_from_slice(&(4 + payload.len() as u16).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        assert_eq!(attribute(&bytes, 3), Some(&b"xy"[..]));
        assert_eq!(attribute(&bytes, 4), None);
        assert_eq!(attribute(&[200, 0, 1, 0], 1), None, "a length beyond the end");
    }

    #[test]
    fn who_received_something_meanwhile_proves_that_there_is_no_silence() {
        let silent = Duration::from_millis(500);
        for (received, received_ago, heard) in [(9, 300, true), (9, 490, false), (0, 300, false)] {
            let progress = Progress {
                connecting: false,
                unacknowledged: 0,
                received,
                sent_ago: Duration::ZERO,
                received_ago: Duration::from_millis(received_ago),
            };
            assert_eq!(progress.heard_within(silent).is_some(), heard, "{progress:?}");
        }
    }

    #[test]
    fn a_request_for_storages_carries_its_own_length() {
        let bytes = with_storages(request(AF_INET), 7);
        assert_eq!(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize, bytes.len());
        assert_eq!(bytes.len() % 4, 0);
    }
}
