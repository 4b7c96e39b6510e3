//! Changing where a packet comes from and goes to, with all checksums, whether they are complete, half done for the network
//! card to finish (CHECKSUM_PARTIAL), or summed up by it beforehand (CHECKSUM_COMPLETE).

use aya_ebpf::{
    bindings::{BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{bpf_l3_csum_replace, bpf_l4_csum_replace},
};
use lb_common::{Address, Endpoint};

use super::{
    parse::{Inner, Kind, Packet},
    wire::{Link, Skb},
};

/// The ends of a connection as a packet is to show them.
#[derive(Clone, Copy)]
pub struct Edit {
    /// Whence.
    pub src: Endpoint,
    /// Whither.
    pub dst: Endpoint,
}

/// Offsets in the headers: RFC 791, RFC 8200, RFC 9293, RFC 792.
const V4_HEADER: u32 = 20;
const V6_HEADER: u32 = 40;
const V4_TIME_TO_LIVE: u32 = 8;
const V4_CHECKSUM: u32 = 10;
const V4_ADDRESSES: u32 = 12;
const V6_HOPS: u32 = 7;
const V6_ADDRESSES: u32 = 8;
const TCP_CHECKSUM: u32 = 16;
const ICMP_CHECKSUM: u32 = 2;

/// How a segment's headers are reached.
#[derive(Clone, Copy)]
pub enum Reach {
    /// By calls.
    Far,
    /// They lie where they can be read at once, behind this link's header.
    Near(Link),
}

/// Makes a packet show other ends.
#[inline(always)]
pub fn rewrite(skb: Skb, packet: &Packet, edit: &Edit) {
    match packet.kind() {
        Kind::Tcp(_) if packet.v6 => {
            let old = [packet.src.address(), packet.dst.address()];
            let new = [edit.src.address(), edit.dst.address()];
            let checksum = packet.l4 + TCP_CHECKSUM;
            let header = Header { l3: packet.l3, v6: true };
            addresses(skb, header, &old, &new, checksum, Covered::ByPseudoHeader);
            ports(skb, packet.l4, (&packet.src, &packet.dst), (&edit.src, &edit.dst), checksum);
        }
        Kind::Tcp(_) => v4_segment(skb, packet, edit, 0, Reach::Far),
        Kind::Icmp(inner) => error(skb, packet, &inner, edit),
    }
}

/// As [`rewrite`] of a segment that was read where it lies, behind this link's header, which spares a call where the checksum is half
/// done: it covers no ports yet.
#[inline(always)]
pub fn rewrite_near(skb: Skb, link: Link, packet: &Packet, edit: &Edit) {
    if packet.v6 {
        let (l3, checksum) = (link.header(), link.header() + V6_HEADER + TCP_CHECKSUM);
        let from = [packet.src.address().v6_words(), packet.dst.address().v6_words()];
        let to = [edit.src.address().v6_words(), edit.dst.address().v6_words()];
        let (old_ports, new_ports) = (pair(&packet.src, &packet.dst), pair(&edit.src, &edit.dst));
        near_sums(skb, checksum, v6_difference(from, to), (old_ports, new_ports));
        let recompute = BPF_F_RECOMPUTE_CSUM as u64;
        skb.store(l3 + V6_ADDRESSES, &to, recompute);
        if old_ports != new_ports {
            skb.store(l3 + V6_HEADER, &new_ports, 0);
        }
    } else {
        v4_segment(skb, packet, edit, 0, Reach::Near(link));
    }
}

/// As [`rewrite`] of a segment, which goes one hop further with it. `hops` are those that it has left, more than one.
#[inline(always)]
pub fn pass_on(skb: Skb, packet: &Packet, edit: &Edit, hops: u32) {
    if packet.v6 {
        rewrite(skb, packet, edit);
        skb.store(packet.l3 + V6_HOPS, &(hops as u8 - 1), BPF_F_RECOMPUTE_CSUM as u64);
    } else {
        v4_segment(skb, packet, edit, 1, Reach::Far);
    }
}

/// As [`addresses`] and [`ports`], with fewer calls: each costs more than what it does. The header's checksum was read with it
/// and is written with the addresses. `hops`: so many fewer, which is what the third word begins with.
#[inline(always)]
fn v4_segment(skb: Skb, packet: &Packet, edit: &Edit, hops: u32, reach: Reach) {
    let from = [packet.src.address().v4_word(), packet.dst.address().v4_word()];
    let to = [edit.src.address().v4_word(), edit.dst.address().v4_word()];
    let change = v4_difference(from, to);
    let (old_ports, new_ports) = (pair(&packet.src, &packet.dst), pair(&edit.src, &edit.dst));
    match reach {
        Reach::Far => far_sums(skb, packet.l4 + TCP_CHECKSUM, change, (old_ports, new_ports)),
        Reach::Near(link) => {
            near_sums(skb, link.header() + V4_HEADER + TCP_CHECKSUM, change, (old_ports, new_ports));
        }
    }
    // RFC 1624, equation 3. As it lies in memory, the checksum is the upper half of the word.
    let (before, after) = (packet.v4_word & 0xffff, (packet.v4_word & 0xffff) - hops);
    let change = change + (!before & 0xffff) as u64 + after as u64;
    let sum = (!packet.v4_word >> 16) as u64 + (change & 0xffff) + (change >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let word = after | (!sum as u32) << 16;
    let (at, words) = (packet.l3 + V4_TIME_TO_LIVE, [word, to[0], to[1], new_ports]);
    let [_, _, _, ports] = &words;
    match words.first_chunk::<3>() {
        Some(header) if packet.l4 != packet.l3 + V4_HEADER => {
            skb.store(at, header, 0);
            skb.store(packet.l4, ports, 0);
        }
        _ => skb.store(at, &words, 0),
    }
}

#[inline(always)]
fn far_sums(skb: Skb, checksum: u32, change: u64, (old_ports, new_ports): (u32, u32)) {
    l4(skb, checksum, 0, change, BPF_F_PSEUDO_HDR as u64);
    if old_ports != new_ports {
        l4(skb, checksum, old_ports as u64, new_ports as u64, 4);
    }
}

/// As [`far_sums`], of either family, for a checksum that can be read where it lies. One that is half done (CHECKSUM_PARTIAL) is
/// the sum of the pseudo header, and the kernel adds the change to it; from any other, which is the complement of a sum, it takes
/// the change away. So what it did tells which it was, unless the change is none. To the former it would do nothing for ports.
#[inline(always)]
fn near_sums(skb: Skb, checksum: u32, change: u64, (old_ports, new_ports): (u32, u32)) {
    let before = near_sum(skb, checksum);
    l4(skb, checksum, 0, change, BPF_F_PSEUDO_HDR as u64);
    if old_ports == new_ports {
        return;
    }
    let expected = folded(change + before as u64);
    let is_half_done =
        before != NO_SUM && folded(change) % 0xffff != 0 && expected == near_sum(skb, checksum) as u64;
    if !is_half_done {
        l4(skb, checksum, old_ports as u64, new_ports as u64, 4);
    }
}

/// Not in the packet's first buffer.
const NO_SUM: u32 = 1 << 16;

/// As it lies in memory.
#[inline(always)]
fn near_sum(skb: Skb, checksum: u32) -> u32 {
    match skb.peek(checksum, 4) {
        Some(at) => at.word::<0>() & 0xffff,
        None => NO_SUM,
    }
}

/// A sum of no more than 33 bits in 16, as the kernel's csum_fold() has it, but not its complement.
#[inline(always)]
fn folded(sum: u64) -> u64 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// An error is about a packet that went the other way, and shows it as its sender knows it. Its own ends change where they
/// are those of the connection.
#[inline(always)]
fn error(skb: Skb, packet: &Packet, inner: &Inner, edit: &Edit) {
    let checksum = packet.l4 + ICMP_CHECKSUM;
    let old = [packet.dst.address(), packet.src.address()];
    let new = [edit.dst.address(), edit.src.address()];
    addresses(skb, Header { l3: inner.l3, v6: packet.v6 }, &old, &new, checksum, Covered::AsData);
    ports(skb, inner.l4, (&packet.dst, &packet.src), (&edit.dst, &edit.src), checksum);
    let outer = |now: Address, old: Address, new: Address| if now.is(&old) { new } else { now };
    let old = [inner.outer_src, inner.outer_dst];
    let new = [
        outer(inner.outer_src, packet.src.address(), edit.src.address()),
        outer(inner.outer_dst, packet.dst.address(), edit.dst.address()),
    ];
    // ICMP's checksum covers no addresses, ICMPv6's does as TCP's.
    let covered = if packet.v6 { Covered::ByPseudoHeader } else { Covered::AsData };
    addresses(skb, Header { l3: packet.l3, v6: packet.v6 }, &old, &new, checksum, covered);
}

/// A network header.
#[derive(Clone, Copy)]
struct Header {
    l3: u32,
    v6: bool,
}

/// How the checksum behind the network header covers the addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covered {
    /// Through the pseudo header, as TCP's and ICMPv6's do.
    ByPseudoHeader,
    /// As part of what an ICMP error carries. With IPv4 the change is undone by that of the header's own checksum, or it is
    /// not covered at all.
    AsData,
}

#[inline(always)]
fn addresses(skb: Skb, at: Header, old: &[Address; 2], new: &[Address; 2], checksum: u32, covered: Covered) {
    if at.v6 {
        let (from, to) = (old.map(|a| a.v6_words()), new.map(|a| a.v6_words()));
        let change = v6_difference(from, to);
        match covered {
            // The kernel takes the pseudo header's change out of a sum that it has of the whole packet, which is right for
            // IPv4, where the header's own checksum undoes the addresses' part. Here the store has to add that part.
            Covered::ByPseudoHeader => {
                l4(skb, checksum, 0, change, BPF_F_PSEUDO_HDR as u64);
                skb.store(at.l3 + V6_ADDRESSES, &to, BPF_F_RECOMPUTE_CSUM as u64);
            }
            Covered::AsData => {
                l4(skb, checksum, 0, change, 0);
                skb.store(at.l3 + V6_ADDRESSES, &to, 0);
            }
        }
        return;
    }
    let (from, to) = (old.map(|a| a.v4_word()), new.map(|a| a.v4_word()));
    let change = v4_difference(from, to);
    // SAFETY: the kernel checks the offset.
    let _ = unsafe { bpf_l3_csum_replace(skb.0, at.l3 + V4_CHECKSUM, 0, change, 0) };
    if covered == Covered::ByPseudoHeader {
        l4(skb, checksum, 0, change, BPF_F_PSEUDO_HDR as u64);
    }
    skb.store(at.l3 + V4_ADDRESSES, &to, 0);
}

/// Two ports as they lie in memory: the source's first.
#[inline(always)]
fn pair(src: &Endpoint, dst: &Endpoint) -> u32 {
    src.port_word() | dst.port_word() << 16
}

#[inline(always)]
fn ports(skb: Skb, at: u32, old: (&Endpoint, &Endpoint), new: (&Endpoint, &Endpoint), checksum: u32) {
    let (from, to) = (pair(old.0, old.1), pair(new.0, new.1));
    if from == to {
        return;
    }
    l4(skb, checksum, from as u64, to as u64, 4);
    skb.store(at, &to, 0);
}

#[inline(always)]
fn l4(skb: Skb, offset: u32, from: u64, to: u64, flags: u64) {
    // SAFETY: the kernel checks the offset.
    let _ = unsafe { bpf_l4_csum_replace(skb.0, offset, from, to, flags) };
}

/// What the exchange of two addresses changes in a checksum, as bpf_csum_diff() gives it: 32 bits that are yet to be folded.
/// No loop, so that no array has to lie on the stack.
#[inline(always)]
fn v6_difference(from: [[u32; 4]; 2], to: [[u32; 4]; 2]) -> u64 {
    let one = |from: [u32; 4], to: [u32; 4]| {
        (!from[0] as u64 + to[0] as u64)
            + (!from[1] as u64 + to[1] as u64)
            + (!from[2] as u64 + to[2] as u64)
            + (!from[3] as u64 + to[3] as u64)
    };
    carried(one(from[0], to[0]) + one(from[1], to[1]))
}

/// As [`v6_difference`].
#[inline(always)]
fn v4_difference(from: [u32; 2], to: [u32; 2]) -> u64 {
    carried((!from[0] as u64 + to[0] as u64) + (!from[1] as u64 + to[1] as u64))
}

#[inline(always)]
fn carried(sum: u64) -> u64 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    (sum & 0xffff_ffff) + (sum >> 32)
}
