//! Past the stack: a segment of a connection that is open and forwarded goes on by the next interface at once, with all that
//! the two programs on its way would have done to it.
//!
//! As in [`crate::xdp`], whatever is new, odd or at its end goes the long way, and a segment every [`SEEN_STEP_NS`] or so.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::{
    Endpoint,
    packet::{FLOW_COUNTED, FLOW_HOST, Flow, NodeKey, Rules, SEEN_STEP_NS},
};

use crate::{
    fib::{Hop, Travelling, next_hop},
    flows::{AT_ITS_END, advance},
    nat::{ACK, Edit, FIN, Link, Packet, RST, SYN, Segment, Skb, pass_on},
    verdict::redirect,
    ways::way,
};

/// Without the version: IPV6_FLOWINFO_MASK, include/net/ipv6.h.
const FLOW: u32 = 0x0fff_ffff_u32.to_be();

/// A segment of a connection, and what it is to become.
pub struct Segmented<'a> {
    pub skb: Skb,
    pub packet: &'a Packet,
    pub segment: &'a Segment,
    pub flow: *mut Flow,
    pub rules: *const Rules,
}

/// What has to be known of a packet to send it on.
struct Plain {
    hops: u32,
    class: u32,
    /// Bytes from the network header on, of a single segment.
    length: u32,
    has_data: bool,
}

/// Where it goes, and how many hops are left to it.
struct Onward {
    hop: Hop,
    hops: u32,
}

impl Segmented<'_> {
    /// From the client to the backend, as [`NodeKey`] has it.
    #[inline(always)]
    pub fn to_backend(&self, node: &NodeKey) -> Option<i32> {
        // SAFETY: a pointer that the lookup returned.
        let (index, comes_by) = unsafe { ((*self.flow).index, (*self.flow).ifindex) };
        let goes_by = way(index)?;
        if comes_by != self.skb.ifindex() {
            return None;
        }
        let seen_src = Endpoint::new(self.packet.src.address(), node.port as u32);
        let onward = self.onward(&seen_src, &node.backend, goes_by)?;
        // SAFETY: a pointer that the lookup returned; an aligned word of a map.
        let source = unsafe {
            advance(&raw mut (*self.flow).to_backend, self.segment);
            (*self.flow).source
        };
        Some(self.leave(&Edit { src: Endpoint::new(source, node.port as u32), dst: node.backend }, &onward))
    }

    /// From the backend to the client.
    #[inline(always)]
    pub fn to_client(&self) -> Option<i32> {
        // SAFETY: a pointer that the lookup returned.
        let (client, index, goes_by) =
            unsafe { ((*self.flow).client.address(), (*self.flow).index, (*self.flow).ifindex) };
        if way(index)? != self.skb.ifindex() {
            return None;
        }
        let seen_dst = Endpoint::new(client, self.packet.dst.port_word());
        let onward = self.onward(&self.packet.src, &seen_dst, goes_by)?;
        // SAFETY: a pointer that the lookup returned; an aligned word of a map.
        let (src, dst) = unsafe {
            advance(&raw mut (*self.flow).to_client, self.segment);
            ((*self.flow).vip, (*self.flow).client)
        };
        Some(self.leave(&Edit { src, dst }, &onward))
    }

    /// The next hop by that interface, where the segment may go there at once. `src`, `dst`: between the two programs.
    #[inline(always)]
    fn onward(&self, src: &Endpoint, dst: &Endpoint, goes_by: u32) -> Option<Onward> {
        let Self { skb, packet, segment, flow, rules } = *self;
        // SAFETY: pointers that lookups returned; takes nothing.
        let (shortens, state, seen) = unsafe { ((*rules).shortens, (*flow).state, (*flow).seen) };
        if shortens == 0
            || state & (FLOW_COUNTED | FLOW_HOST | AT_ITS_END) != FLOW_COUNTED
            || segment.flags & (SYN | FIN | RST | ACK) != ACK
            || segment.is_fragment
            || segment.is_malformed
            || skb.is_marked()
            || skb.has_tag()
        {
            return None;
        }
        let plain = plain(skb, packet)?;
        // SAFETY: takes nothing.
        let idle = unsafe { bpf_ktime_get_ns() }.saturating_sub(seen);
        let most = if plain.has_data { 2 * SEEN_STEP_NS } else { SEEN_STEP_NS };
        if plain.hops <= 1 || plain.length > u16::MAX as u32 || idle > most {
            return None;
        }
        let travelling = Travelling {
            v6: packet.v6,
            src: src.address(),
            dst: dst.address(),
            sport: src.port_word() as u16,
            dport: dst.port_word() as u16,
            length: plain.length as u16,
            class: plain.class,
            ifindex: skb.ifindex(),
        };
        let hop = next_hop(skb.0.cast(), &travelling)?;
        (hop.ifindex == goes_by).then_some(Onward { hop, hops: plain.hops })
    }

    #[inline(always)]
    fn leave(&self, edit: &Edit, onward: &Onward) -> i32 {
        pass_on(self.skb, self.packet, edit, onward.hops);
        self.skb.store(0, &onward.hop.macs, 0);
        self.skb.set_done();
        redirect(onward.hop.ifindex, 0)
    }
}

/// `None`: the headers have options, or are not in the first buffer.
#[inline(always)]
fn plain(skb: Skb, packet: &Packet) -> Option<Plain> {
    let at = Link::Ethernet.header();
    if packet.l3 != at {
        return None;
    }
    if packet.v6 {
        let headers = skb.peek(at, 60)?;
        if packet.l4 != at + 40 {
            return None;
        }
        let word = u32::from_be(headers.word::<4>());
        let header = 40 + (u32::from_be(headers.word::<52>()) >> 28) * 4;
        let length = 40 + (word >> 16);
        return Some(Plain {
            hops: word & 0xff,
            class: headers.word::<0>() & FLOW,
            length: skb.segment_size().map_or(length, |size| header + size),
            has_data: length != header,
        });
    }
    let headers = skb.peek(at, 40)?;
    if packet.l4 != at + 20 {
        return None;
    }
    let word = u32::from_be(headers.word::<0>());
    let header = 20 + (u32::from_be(headers.word::<32>()) >> 28) * 4;
    let length = word & 0xffff;
    Some(Plain {
        hops: u32::from_be(headers.word::<8>()) >> 24,
        class: word >> 16 & 0xff,
        length: skb.segment_size().map_or(length, |size| header + size),
        has_data: length != header,
    })
}
