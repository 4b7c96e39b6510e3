//! What a packet is about.

use lb_common::{Address, Endpoint};

use super::wire::{Link, Skb};

/// EtherTypes, include/uapi/linux/if_ether.h, in network order.
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
const VLAN: u16 = 0x8100_u16.to_be();
const VLAN_OUTER: u16 = 0x88a8_u16.to_be();

/// Protocols, include/uapi/linux/in.h and in6.h.
const ICMP: u32 = 1;
const TCP: u32 = 6;
const ICMPV6: u32 = 58;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const DESTINATION: u32 = 60;

/// Flags of the TCP header.
pub const FIN: u32 = 1;
pub const SYN: u32 = 2;
pub const RST: u32 = 4;
pub const ACK: u32 = 16;

/// What was found.
pub enum Parsed {
    /// Nothing that could be ours.
    Foreign,
    /// A TCP segment, or an ICMP error about one.
    Packet(Packet),
}

/// A TCP segment, or an ICMP error about one.
#[derive(Clone, Copy)]
pub struct Packet {
    /// Where the network header begins.
    pub l3: u32,
    /// Where what follows it begins.
    pub l4: u32,
    /// Whether that is IPv6.
    pub v6: bool,
    /// Of IPv4: the header's third word as it lies in memory, with its checksum.
    pub v4_word: u32,
    /// Which of the two; both of what follows are always filled in, since the compiler reads what it does not use, and the
    /// verifier allows that of nothing that was never written.
    is_error: bool,
    segment: Segment,
    inner: Inner,
    /// Where the connection goes, in the direction in which the packet travels. For an ICMP error: the opposite of what is
    /// inside.
    pub src: Endpoint,
    /// As above.
    pub dst: Endpoint,
}

impl Packet {
    /// Puts it where it is read from anew.
    ///
    /// # Safety
    /// The place is that of a map's element.
    #[inline(always)]
    pub unsafe fn store(&self, place: *mut Self) {
        // SAFETY: the caller's. Field by field, which never compiles to a call of `memcpy`.
        unsafe {
            (*place).l3 = self.l3;
            (*place).l4 = self.l4;
            (*place).v6 = self.v6;
            (*place).v4_word = self.v4_word;
            (*place).is_error = self.is_error;
            (*place).segment = self.segment;
            (*place).inner = self.inner;
            self.src.store(&mut (*place).src);
            self.dst.store(&mut (*place).dst);
            // What follows reads memory, and not what the compiler knows to be there.
            core::arch::asm!("", options(nostack, preserves_flags));
        }
    }

    /// Whether it is an error that somebody on the way has sent, and not the one whom it is about.
    #[inline(always)]
    pub fn is_error_of_other(&self) -> bool {
        self.is_error && !self.inner.outer_src.is(&self.src.address())
    }

    /// Which of the two it is.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        if self.is_error { Kind::Icmp(self.inner) } else { Kind::Tcp(self.segment) }
    }
}

/// Which kind of packet.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A segment.
    Tcp(Segment),
    /// An error.
    Icmp(Inner),
}

/// A segment's header.
#[derive(Clone, Copy)]
pub struct Segment {
    /// The sequence number after it, in the machine's order.
    pub end: u32,
    /// [`FIN`], [`SYN`], [`RST`], [`ACK`] and others.
    pub flags: u32,
    /// The first of several fragments.
    pub is_fragment: bool,
    /// The header's length makes no sense.
    pub is_malformed: bool,
}

/// What an error is about.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Where the network header inside begins.
    pub l3: u32,
    /// Where the TCP header inside begins.
    pub l4: u32,
    /// Whence the error comes.
    pub outer_src: Address,
    /// Whither it goes.
    pub outer_dst: Address,
}

/// Reads the headers. Fragments but the first have no ports and are foreign.
#[inline(always)]
pub fn parse(skb: Skb, link: Link) -> Parsed {
    match network_header(skb, link) {
        Some((l3, IPV4)) => parse_v4(skb, l3),
        Some((l3, IPV6)) => parse_v6(skb, l3, Chain::Followed),
        _ => None,
    }
    .map_or(Parsed::Foreign, Parsed::Packet)
}

/// What most packets are: a whole TCP segment over IPv4 without options, its headers where they can be read without a copy.
/// `None`: it has to be looked at closely, by [`parse`].
#[inline(always)]
pub fn parse_near_v4(skb: Skb, link: Link) -> Option<Packet> {
    if skb.protocol() != IPV4 {
        return None;
    }
    let l3 = link.header();
    let headers = skb.peek(l3, 40)?;
    let (first, v4_word) = (u32::from_be(headers.word::<0>()), headers.word::<8>());
    let is_fragment = u32::from_be(headers.word::<4>()) & 0x3fff != 0;
    if first >> 24 != 0x45 || is_fragment || u32::from_be(v4_word) >> 16 & 0xff != TCP {
        return None;
    }
    let end = match first & 0xffff {
        0 => skb.len(),
        total => l3 + total,
    };
    let at = Layers { l3, l4: l3 + 20, v6: false, v4_word, end };
    let tcp = [headers.word::<20>(), headers.word::<24>(), 0, headers.word::<32>(), 0];
    let (src, dst) = (headers.word::<12>(), headers.word::<16>());
    let (src, dst) = (Address::from_v4_word(src), Address::from_v4_word(dst));
    Some(whole(tcp.map(u32::from_be), at, src, dst, false))
}

/// As [`parse_near_v4`], over IPv6 without extension headers.
#[inline(always)]
pub fn parse_near_v6(skb: Skb, link: Link) -> Option<Packet> {
    if skb.protocol() != IPV6 {
        return None;
    }
    let l3 = link.header();
    let headers = skb.peek(l3, 60)?;
    let (first, second) = (u32::from_be(headers.word::<0>()), u32::from_be(headers.word::<4>()));
    if first >> 28 != 6 || second >> 8 & 0xff != TCP {
        return None;
    }
    let end = match second >> 16 {
        0 => skb.len(),
        payload => l3 + 40 + payload,
    };
    let at = Layers { l3, l4: l3 + 40, v6: true, v4_word: 0, end };
    let tcp = [headers.word::<40>(), headers.word::<44>(), 0, headers.word::<52>(), 0];
    let src = [headers.word::<8>(), headers.word::<12>(), headers.word::<16>(), headers.word::<20>()];
    let dst = [headers.word::<24>(), headers.word::<28>(), headers.word::<32>(), headers.word::<36>()];
    let (src, dst) = (Address::from_v6_words(src), Address::from_v6_words(dst));
    Some(whole(tcp.map(u32::from_be), at, src, dst, false))
}

/// As [`parse`], but what has a tag inside, or IPv6 extension headers, is foreign: no packet between this node's own sockets
/// and a backend has, and without them the verifier comes to an end without CAP_PERFMON.
#[inline(always)]
pub fn parse_plain(skb: Skb, link: Link) -> Parsed {
    match skb.protocol() {
        IPV4 => parse_v4(skb, link.header()),
        IPV6 => parse_v6(skb, link.header(), Chain::None),
        _ => None,
    }
    .map_or(Parsed::Foreign, Parsed::Packet)
}

/// Whether IPv6 extension headers are passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    Followed,
    None,
}

/// Up to two tags inside the frame are passed over; one that the kernel keeps beside it is not there.
#[inline(always)]
fn network_header(skb: Skb, link: Link) -> Option<(u32, u16)> {
    let header = link.header();
    let mut protocol = skb.protocol();
    if protocol == IPV4 || protocol == IPV6 || link == Link::None {
        // With a tag inside, `protocol` is the tag's, unless a driver took it for the kernel's own.
        return Some((header, protocol));
    }
    if protocol != VLAN && protocol != VLAN_OUTER {
        return None;
    }
    protocol = skb.load(header + 2)?;
    if protocol != VLAN && protocol != VLAN_OUTER {
        return Some((header + 4, protocol));
    }
    Some((header + 8, skb.load(header + 6)?))
}

#[inline(always)]
fn parse_v4(skb: Skb, l3: u32) -> Option<Packet> {
    let ip: [u32; 5] = skb.load(l3)?;
    let v4_word = ip[2];
    let [first, second, third, src, dst] = ip.map(u32::from_be);
    let length = (first >> 24 & 0xf) * 4;
    if first >> 28 != 4 || length < 20 {
        return None;
    }
    // The offset, in units of eight bytes, is in the lower 13 bits; above it MF.
    if second & 0x1fff != 0 {
        return None;
    }
    let is_fragment = second & 0x2000 != 0;
    let l4 = l3 + length;
    let address = |word: u32| Address::from_v4_word(word.to_be());
    match third >> 16 & 0xff {
        TCP => {
            let end = match first & 0xffff {
                0 => skb.len(),
                total => l3 + total,
            };
            segment(skb, Layers { l3, l4, v6: false, v4_word, end }, address(src), address(dst), is_fragment)
        }
        ICMP if !is_fragment => {
            let kind: u8 = skb.load(l4)?;
            // Unreachable, time exceeded, parameter problem: RFC 792.
            if kind != 3 && kind != 11 && kind != 12 {
                return None;
            }
            let inner: [u32; 5] = skb.load(l4 + 8)?;
            let [one, two, three, from, to] = inner.map(u32::from_be);
            let inner_length = (one >> 24 & 0xf) * 4;
            if one >> 28 != 4 || inner_length < 20 || two & 0x1fff != 0 || three >> 16 & 0xff != TCP {
                return None;
            }
            let inner = Inner {
                l3: l4 + 8,
                l4: l4 + 8 + inner_length,
                outer_src: address(src),
                outer_dst: address(dst),
            };
            error(skb, Layers { l3, l4, v6: false, v4_word, end: 0 }, inner, address(from), address(to))
        }
        _ => None,
    }
}

#[inline(always)]
fn parse_v6(skb: Skb, l3: u32, chain: Chain) -> Option<Packet> {
    let [first, second]: [u32; 2] = skb.load(l3)?;
    if u32::from_be(first) >> 28 != 6 {
        return None;
    }
    let [src, dst]: [[u32; 4]; 2] = skb.load(l3 + 8)?;
    let (src, dst) = (Address::from_v6_words(src), Address::from_v6_words(dst));
    let second = u32::from_be(second);
    let mut at = Extension { next: second >> 8 & 0xff, offset: l3 + 40, is_fragment: false };
    // One by one, and not in a loop: see `choose`.
    if chain == Chain::Followed {
        at = at.skip(skb)?;
        at = at.skip(skb)?;
        at = at.skip(skb)?;
        at = at.skip(skb)?;
    }
    let l4 = at.offset;
    match at.next {
        TCP => {
            let end = match second >> 16 {
                0 => skb.len(),
                payload => l3 + 40 + payload,
            };
            segment(skb, Layers { l3, l4, v6: true, v4_word: 0, end }, src, dst, at.is_fragment)
        }
        ICMPV6 if !at.is_fragment => {
            let kind: u8 = skb.load(l4)?;
            // Unreachable, too big, time exceeded, parameter problem: RFC 4443.
            if kind == 0 || kind > 4 {
                return None;
            }
            let [one, two]: [u32; 2] = skb.load(l4 + 8)?;
            if u32::from_be(one) >> 28 != 6 || u32::from_be(two) >> 8 & 0xff != TCP {
                return None;
            }
            let [from, to]: [[u32; 4]; 2] = skb.load(l4 + 16)?;
            let inner = Inner { l3: l4 + 8, l4: l4 + 48, outer_src: src, outer_dst: dst };
            let (from, to) = (Address::from_v6_words(from), Address::from_v6_words(to));
            error(skb, Layers { l3, l4, v6: true, v4_word: 0, end: 0 }, inner, from, to)
        }
        _ => None,
    }
}

/// A place in the chain of IPv6's extension headers.
struct Extension {
    next: u32,
    offset: u32,
    is_fragment: bool,
}

impl Extension {
    /// The place after one more of them, or the same where it is none.
    #[inline(always)]
    fn skip(self, skb: Skb) -> Option<Self> {
        match self.next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [next, length, _, segments_left]: [u8; 4] = skb.load(self.offset)?;
                // The packet goes on to another address than the header's, which is what its checksum is about.
                if self.next == ROUTING && segments_left != 0 {
                    return None;
                }
                let offset = self.offset + (length as u32 + 1) * 8;
                Some(Self { next: next as u32, offset, ..self })
            }
            FRAGMENT => {
                let word: u32 = skb.load(self.offset)?;
                let word = u32::from_be(word);
                // The offset is in the upper 13 bits of the lower half; its last bit says whether more follow.
                if word & 0xfff8 != 0 {
                    return None;
                }
                let is_fragment = self.is_fragment || word & 1 != 0;
                Some(Self { next: word >> 24, offset: self.offset + 8, is_fragment })
            }
            _ => Some(self),
        }
    }
}

/// Where things are.
struct Layers {
    l3: u32,
    l4: u32,
    v6: bool,
    v4_word: u32,
    /// Where the payload ends.
    end: u32,
}

#[inline(always)]
fn segment(skb: Skb, at: Layers, src: Address, dst: Address, is_fragment: bool) -> Option<Packet> {
    // All of it, though the rest is not read: what has no room for its checksum is no segment.
    let tcp: [u32; 5] = skb.load(at.l4)?;
    Some(whole(tcp.map(u32::from_be), at, src, dst, is_fragment))
}

/// The header's words are in the machine's order.
#[inline(always)]
fn whole(tcp: [u32; 5], at: Layers, src: Address, dst: Address, is_fragment: bool) -> Packet {
    let [ports, sequence, _, third, _] = tcp;
    let flags = third >> 16 & 0x3f;
    let header = (third >> 28) * 4;
    let payload = at.end.wrapping_sub(at.l4).wrapping_sub(header);
    let is_malformed = header < 20 || payload > 0xffff_0000;
    let extra = (flags & SYN) / SYN + (flags & FIN) / FIN;
    let end = sequence.wrapping_add(payload).wrapping_add(extra);
    Packet {
        l3: at.l3,
        l4: at.l4,
        v6: at.v6,
        v4_word: at.v4_word,
        is_error: false,
        segment: Segment { end, flags, is_fragment, is_malformed },
        inner: Inner { l3: at.l3, l4: at.l4, outer_src: src, outer_dst: dst },
        src: Endpoint::new(src, port(ports >> 16)),
        dst: Endpoint::new(dst, port(ports & 0xffff)),
    }
}

/// The direction is turned round: what is inside went the other way.
#[inline(always)]
fn error(skb: Skb, at: Layers, inner: Inner, from: Address, to: Address) -> Option<Packet> {
    let ports: u32 = skb.load(inner.l4)?;
    let ports = u32::from_be(ports);
    Some(Packet {
        l3: at.l3,
        l4: at.l4,
        v6: at.v6,
        v4_word: at.v4_word,
        is_error: true,
        segment: Segment { end: 0, flags: 0, is_fragment: false, is_malformed: false },
        inner,
        src: Endpoint::new(to, port(ports & 0xffff)),
        dst: Endpoint::new(from, port(ports >> 16)),
    })
}

/// A port in network order, from one in the machine's.
#[inline(always)]
const fn port(number: u32) -> u32 {
    (number as u16).to_be() as u32
}
