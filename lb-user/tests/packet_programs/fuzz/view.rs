//! A packet read a second time, by the RFCs and not by the programs: where the fields are that may change, and whether the
//! checksums are right.

use std::{net::IpAddr, ops::Range};

use etherparse::checksum::Sum16BitWords;

use crate::packet::{DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, TCP};

#[derive(Clone, Debug)]
pub struct View {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Of a TCP segment, or of the one that an error shows, turned round.
    pub ports: Option<(u16, u16)>,
    pub is_error: bool,
    /// Where addresses, ports and checksums are.
    pub fields: Vec<Range<usize>>,
    /// Where a RST differs from what it answers.
    pub control: Range<usize>,
    /// Each checksum that can be known: whether it is right.
    pub sums: Vec<(&'static str, bool)>,
}

/// `None`: no IP, or too little of it.
pub fn view(bytes: &[u8], bare: bool) -> Option<View> {
    let l3 = if bare { 0 } else { network_header(bytes)? };
    let header = Network::read(bytes, l3)?;
    let mut view = View {
        src: header.src,
        dst: header.dst,
        ports: None,
        is_error: false,
        fields: header.fields(l3),
        control: 0..0,
        sums: header.sums(bytes, l3),
    };
    let l4 = header.l4;
    let whole = bytes.get(l4..header.end).filter(|_| !header.is_fragment);
    match header.protocol {
        TCP => {
            view.ports = Some((word(bytes, l4)?, word(bytes, l4 + 2)?));
            view.fields.extend([l4..l4 + 4, l4 + 16..l4 + 18]);
            view.control = l4 + 4..l4 + 16;
            view.sums.extend(whole.map(|segment| ("tcp", is_right(header.pseudo(segment), segment))));
        }
        ICMP | ICMPV6 if !header.is_fragment => {
            view.is_error = true;
            view.fields.push(l4 + 2..l4 + 4);
            let pseudo =
                |message| if header.protocol == ICMP { Sum16BitWords::new() } else { header.pseudo(message) };
            view.sums.extend(whole.map(|message| ("icmp", is_right(pseudo(message), message))));
            let inner = Network::read(bytes, l4 + 8)?;
            view.fields.extend(inner.fields(l4 + 8));
            view.fields.push(inner.l4..inner.l4 + 4);
            view.sums.extend(inner.sums(bytes, l4 + 8));
            view.ports = Some((word(bytes, inner.l4 + 2)?, word(bytes, inner.l4)?));
        }
        _ => {}
    }
    Some(view)
}

/// Behind up to two tags.
fn network_header(bytes: &[u8]) -> Option<usize> {
    let mut at = 12;
    while at < 20 && matches!(word(bytes, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    Some(at + 2)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn is_right(sum: Sum16BitWords, bytes: &[u8]) -> bool {
    sum.add_slice(bytes).ones_complement() == 0
}

struct Network {
    src: IpAddr,
    dst: IpAddr,
    l4: usize,
    end: usize,
    protocol: u8,
    is_fragment: bool,
}

impl Network {
    fn read(bytes: &[u8], l3: usize) -> Option<Self> {
        match bytes.get(l3)? >> 4 {
            4 => {
                let header: &[u8; 20] = bytes.get(l3..l3 + 20)?.try_into().ok()?;
                let octets =
                    |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                Some(Self {
                    src: octets(12),
                    dst: octets(16),
                    l4: l3 + usize::from(header[0] & 15) * 4,
                    end: l3 + usize::from(word(header, 2)?),
                    protocol: header[9],
                    is_fragment: word(header, 6)? & 0x3fff != 0,
                })
            }
            6 => Self::read_v6(bytes, l3),
            _ => None,
        }
    }

    fn read_v6(bytes: &[u8], l3: usize) -> Option<Self> {
        let header = bytes.get(l3..l3 + 40)?;
        let octets = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).map(IpAddr::from).ok();
        let (mut protocol, mut l4, mut is_fragment) = (header[6], l3 + 40, false);
        while matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT) {
            let extension = bytes.get(l4..l4 + 8)?;
            let length = if protocol == FRAGMENT { 0 } else { usize::from(extension[1]) };
            is_fragment |= protocol == FRAGMENT && word(extension, 2)? & 0xfff9 != 0;
            (protocol, l4) = (extension[0], l4 + 8 + 8 * length);
        }
        let end = l3 + 40 + usize::from(word(header, 4)?);
        Some(Self { src: octets(8)?, dst: octets(24)?, l4, end, protocol, is_fragment })
    }

    fn fields(&self, l3: usize) -> Vec<Range<usize>> {
        let range = if self.src.is_ipv4() { l3 + 10..l3 + 20 } else { l3 + 8..l3 + 40 };
        std::iter::once(range).collect()
    }

    fn sums(&self, bytes: &[u8], l3: usize) -> Vec<(&'static str, bool)> {
        let header = bytes.get(l3..self.l4).filter(|_| self.src.is_ipv4() && self.l4 >= l3 + 20);
        header.map(|header| ("ip", is_right(Sum16BitWords::new(), header))).into_iter().collect()
    }

    /// The sum of the pseudo header, RFC 9293, 3.1 and RFC 8200, 8.1.
    fn pseudo(&self, of: &[u8]) -> Sum16BitWords {
        let add = |sum: Sum16BitWords, ip: IpAddr| match ip {
            IpAddr::V4(ip) => sum.add_slice(&ip.octets()),
            IpAddr::V6(ip) => sum.add_slice(&ip.octets()),
        };
        add(add(Sum16BitWords::new(), self.src), self.dst)
            .add_slice(&[0, self.protocol])
            .add_slice(&(of.len() as u32).to_be_bytes())
    }
}
