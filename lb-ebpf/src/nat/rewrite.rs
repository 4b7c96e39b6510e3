//! Changing where a packet comes from and goes to, with all checksums, whether they are complete, half done for the network
//! card to finish (CHECKSUM_PARTIAL), or summed up by it beforehand (CHECKSUM_COMPLETE).

use aya_ebpf::{
    bindings::{BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace},
};
use lb_common::{Address, Endpoint};

use super::{
    parse::{Inner, Kind, Packet},
    wire::Skb,
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
const V4_CHECKSUM: u32 = 10;
const V4_ADDRESSES: u32 = 12;
const V6_ADDRESSES: u32 = 8;
const TCP_CHECKSUM: u32 = 16;
const ICMP_CHECKSUM: u32 = 2;

/// Makes a packet show other ends.
#[inline(always)]
pub fn rewrite(skb: Skb, packet: &Packet, edit: &Edit) {
    match packet.kind() {
        Kind::Tcp(_) => {
            let old = [packet.src.address(), packet.dst.address()];
            let new = [edit.src.address(), edit.dst.address()];
            let checksum = packet.l4 + TCP_CHECKSUM;
            let header = Header { l3: packet.l3, v6: packet.v6 };
            addresses(skb, header, &old, &new, checksum, Covered::ByPseudoHeader);
            ports(skb, packet.l4, (&packet.src, &packet.dst), (&edit.src, &edit.dst), checksum);
        }
        Kind::Icmp(inner) => error(skb, packet, &inner, edit),
    }
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
        let (mut from, mut to) = (old.map(|a| a.v6_words()), new.map(|a| a.v6_words()));
        let change = difference((&raw mut from).cast(), (&raw mut to).cast(), 32);
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
    let (mut from, mut to) = (old.map(|a| a.v4_word()), new.map(|a| a.v4_word()));
    let change = difference((&raw mut from).cast(), (&raw mut to).cast(), 8);
    // SAFETY: the kernel checks the offset.
    let _ = unsafe { bpf_l3_csum_replace(skb.0, at.l3 + V4_CHECKSUM, 0, change, 0) };
    if covered == Covered::ByPseudoHeader {
        l4(skb, checksum, 0, change, BPF_F_PSEUDO_HDR as u64);
    }
    skb.store(at.l3 + V4_ADDRESSES, &to, 0);
}

#[inline(always)]
fn ports(skb: Skb, at: u32, old: (&Endpoint, &Endpoint), new: (&Endpoint, &Endpoint), checksum: u32) {
    // As they lie in memory: the source's first.
    let word = |(src, dst): (&Endpoint, &Endpoint)| src.port_word() | dst.port_word() << 16;
    let (from, to) = (word(old), word(new));
    l4(skb, checksum, from as u64, to as u64, 4);
    skb.store(at, &to, 0);
}

#[inline(always)]
fn l4(skb: Skb, offset: u32, from: u64, to: u64, flags: u64) {
    // SAFETY: the kernel checks the offset.
    let _ = unsafe { bpf_l4_csum_replace(skb.0, offset, from, to, flags) };
}

/// What the exchange of some bytes changes in a checksum.
#[inline(always)]
fn difference(from: *mut u32, to: *mut u32, length: u32) -> u64 {
    // SAFETY: both have that many bytes.
    (unsafe { bpf_csum_diff(from, length, to, length, 0) }) as u64
}
