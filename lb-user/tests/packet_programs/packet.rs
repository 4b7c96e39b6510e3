//! Packets as data, and what they should become.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// Protocols, include/uapi/linux/in.h and in6.h.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const ICMPV6: u8 = 58;
pub const DESTINATION: u8 = 60;

/// Tags inside a frame: 802.1Q, and 802.1ad before it.
pub const TAG: [u8; 4] = [0x81, 0, 0, 5];
pub const OUTER_TAG: [u8; 4] = [0x88, 0xa8, 0, 7];

#[derive(Clone, Debug)]
pub struct Packet {
    pub link: Link,
    pub ip: Ip,
    /// The address of the network header, and the port of a segment.
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Link {
    None,
    Ethernet { to: [u8; 6], from: [u8; 6], tags: Vec<[u8; 4]> },
}

/// What a network header says apart from addresses. Some of it is IPv4's only, some IPv6's.
#[derive(Clone, Debug)]
pub struct Ip {
    pub hops: u8,
    /// Odd, so that a packet without a link header is not taken for a frame to another machine: see [`super::kernel`].
    pub class: u8,
    pub id: u16,
    pub flow: u32,
    pub may_fragment: bool,
    pub more: bool,
    /// In units of eight bytes.
    pub offset: u16,
    pub options: Vec<u8>,
    /// Extension headers: the kind, and all bytes but the first.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, Debug)]
pub enum Body {
    Tcp(Segment),
    /// An ICMP error, and how many bytes of the packet it shows.
    Error {
        kind: u8,
        code: u8,
        rest: [u8; 4],
        about: Box<Packet>,
        shown: usize,
    },
    Raw {
        protocol: u8,
        bytes: Vec<u8>,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub flags: u8,
    pub sequence: u32,
    pub acknowledged: u32,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Instead of the right one.
    pub checksum: Option<u16>,
}

impl Packet {
    /// A segment with as little as possible.
    pub fn tcp(link: Link, src: SocketAddr, dst: SocketAddr, flags: u8) -> Self {
        let ip = Ip {
            hops: 61,
            class: 0x10,
            id: 0x1234,
            flow: 0xabcde,
            may_fragment: false,
            more: false,
            offset: 0,
            options: Vec::new(),
            extensions: Vec::new(),
        };
        let acknowledged = if flags & ACK == 0 { 0 } else { 0x8765_4321 };
        let body =
            Segment { flags, sequence: 0xfedc_ba98, acknowledged, window: 0x7210, ..Segment::default() };
        Self { link, ip, src, dst, body: Body::Tcp(body) }
    }

    /// An ICMP error about a packet, of which it shows so many bytes.
    pub fn error(link: Link, src: IpAddr, dst: IpAddr, what: (u8, u8), about: &Self, shown: usize) -> Self {
        let mut about = about.clone();
        about.link = Link::None;
        about.ip.hops = 1;
        // Nobody computes that one again.
        about.segment_mut().checksum.get_or_insert(0x5aa5);
        let rest = [0, 0, 0x05, 0x00];
        let body = Body::Error { kind: what.0, code: what.1, rest, about: Box::new(about), shown };
        Self { body, ..Self::tcp(link, SocketAddr::new(src, 0), SocketAddr::new(dst, 0), 0) }
    }

    pub fn segment_mut(&mut self) -> &mut Segment {
        match &mut self.body {
            Body::Tcp(segment) => segment,
            _ => panic!("not a segment"),
        }
    }

    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Segment)) -> Self {
        change(self.segment_mut());
        self
    }

    #[must_use]
    pub fn with_ip(mut self, change: impl FnOnce(&mut Ip)) -> Self {
        change(&mut self.ip);
        self
    }

    #[must_use]
    pub fn data(self, payload: &[u8]) -> Self {
        self.with(|segment| segment.payload = payload.to_vec())
    }

    #[must_use]
    pub fn tagged(mut self, tags: &[[u8; 4]]) -> Self {
        if let Link::Ethernet { tags: inside, .. } = &mut self.link {
            *inside = tags.to_vec();
        }
        self
    }

    /// The same between other ends. Of an error: what it is about went the other way between them, and its own addresses are
    /// theirs where they were those that it showed.
    #[must_use]
    pub fn between(&self, src: SocketAddr, dst: SocketAddr) -> Self {
        let mut packet = self.clone();
        let Body::Error { about, .. } = &mut packet.body else {
            (packet.src, packet.dst) = (src, dst);
            return packet;
        };
        let outer = |now: SocketAddr, old: SocketAddr, new: SocketAddr| {
            if now.ip() == old.ip() { SocketAddr::new(new.ip(), 0) } else { now }
        };
        packet.src = outer(packet.src, about.dst, src);
        packet.dst = outer(packet.dst, about.src, dst);
        (about.src, about.dst) = (dst, src);
        packet
    }

    /// As the loopback interface is to receive it.
    #[must_use]
    pub fn on_loopback(&self) -> Self {
        let mut packet = self.clone();
        packet.link = match &self.link {
            Link::None => Link::Ethernet { to: [0; 6], from: [0; 6], tags: Vec::new() },
            Link::Ethernet { tags, .. } => Link::Ethernet { to: [0; 6], from: [0; 6], tags: tags.clone() },
        };
        packet
    }

    /// The RST that answers it, between these ends.
    #[must_use]
    pub fn refused(&self) -> Self {
        let mut packet = self.between(self.dst, self.src);
        if let Link::Ethernet { to, from, .. } = &mut packet.link {
            std::mem::swap(to, from);
        }
        packet.with(|segment| {
            let length = segment.payload.len() as u32;
            let extra = u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
            if segment.flags & ACK == 0 {
                segment.acknowledged = segment.sequence.wrapping_add(length).wrapping_add(extra);
                (segment.sequence, segment.flags) = (0, RST | ACK);
            } else {
                (segment.sequence, segment.acknowledged) = (segment.acknowledged, 0);
                segment.flags = RST;
            }
            segment.window = 0;
        })
    }
}
