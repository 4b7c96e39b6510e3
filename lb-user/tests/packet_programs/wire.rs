//! The bytes of a packet: every length and every checksum is computed anew, whatever the packet was made from.

use std::net::IpAddr;

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, TcpHeader,
    checksum::Sum16BitWords,
};

use super::packet::{ACK, Body, FIN, ICMP, ICMPV6, Link, PSH, Packet, RST, SYN, Segment, TCP};

impl Packet {
    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Link::Ethernet { to, from, tags } = &self.link {
            bytes.extend_from_slice(to);
            bytes.extend_from_slice(from);
            bytes.extend(tags.iter().flatten());
            let kind: u16 = if self.src.is_ipv4() { 0x0800 } else { 0x86dd };
            bytes.extend_from_slice(&kind.to_be_bytes());
        }
        bytes.extend(self.network());
        bytes
    }

    /// Where the network header begins.
    pub fn l3(&self) -> usize {
        match &self.link {
            Link::None => 0,
            Link::Ethernet { tags, .. } => 14 + 4 * tags.len(),
        }
    }

    /// Where what follows it begins.
    pub fn l4(&self) -> usize {
        let extensions = self.ip.extensions.iter().map(|(_, bytes)| 1 + bytes.len()).sum::<usize>();
        let header = if self.src.is_ipv4() { 20 + self.ip.options.len() } else { 40 + extensions };
        self.l3() + header
    }

    fn network(&self) -> Vec<u8> {
        let (protocol, body) = self.transport();
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header =
                    Ipv4Header::new(0, self.ip.hops, IpNumber(protocol), src.octets(), dst.octets()).unwrap();
                header.identification = self.ip.id;
                header.dont_fragment = !self.ip.may_fragment;
                header.more_fragments = self.ip.more;
                header.fragment_offset = IpFragOffset::try_new(self.ip.offset).unwrap();
                header.options = Ipv4Options::try_from(&self.ip.options[..]).unwrap();
                header.set_payload_len(body.len()).unwrap();
                header.header_checksum = header.calc_header_checksum();
                [&header.to_bytes(), &body[..]].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut next = protocol;
                let mut payload = body;
                for (kind, bytes) in self.ip.extensions.iter().rev() {
                    payload = [&[next], &bytes[..], &payload].concat();
                    next = *kind;
                }
                let header = Ipv6Header {
                    traffic_class: self.ip.class,
                    flow_label: Ipv6FlowLabel::try_new(self.ip.flow).unwrap(),
                    payload_length: payload.len() as u16,
                    next_header: IpNumber(next),
                    hop_limit: self.ip.hops,
                    source: src.octets(),
                    destination: dst.octets(),
                };
                [&header.to_bytes(), &payload[..]].concat()
            }
            _ => panic!("two families in one packet"),
        }
    }

    fn transport(&self) -> (u8, Vec<u8>) {
        match &self.body {
            Body::Tcp(segment) => (TCP, self.tcp_bytes(segment)),
            Body::Error { kind, code, rest, about, shown } => {
                let mut inner = about.bytes();
                inner.truncate(*shown);
                let mut bytes = [&[*kind, *code, 0, 0], &rest[..], &inner].concat();
                let checksum = self.icmp_checksum(&bytes);
                bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
                (if self.src.is_ipv4() { ICMP } else { ICMPV6 }, bytes)
            }
            Body::Raw { protocol, bytes } => (*protocol, bytes.clone()),
        }
    }

    fn tcp_bytes(&self, segment: &Segment) -> Vec<u8> {
        let has = |flag| segment.flags & flag != 0;
        let mut header = TcpHeader::new(self.src.port(), self.dst.port(), segment.sequence, segment.window);
        header.acknowledgment_number = segment.acknowledged;
        (header.fin, header.syn, header.rst) = (has(FIN), has(SYN), has(RST));
        (header.psh, header.ack) = (has(PSH), has(ACK));
        header.set_options_raw(&segment.options).unwrap();
        let sum = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), &segment.payload)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), &segment.payload)
            }
            _ => panic!("two families in one packet"),
        };
        header.checksum = segment.checksum.unwrap_or(sum.unwrap());
        [&header.to_bytes(), &segment.payload[..]].concat()
    }

    fn icmp_checksum(&self, bytes: &[u8]) -> u16 {
        let sum = Sum16BitWords::new().add_slice(bytes);
        let sum = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => sum
                .add_slice(&src.octets())
                .add_slice(&dst.octets())
                .add_4bytes((bytes.len() as u32).to_be_bytes())
                .add_4bytes([0, 0, 0, ICMPV6]),
            _ => sum,
        };
        sum.ones_complement().to_be()
    }
}
