//! Turning a segment into the RST that answers it, as RFC 9293, 3.10.7.1, has it for a connection that does not exist.

use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use lb_common::Endpoint;

use super::{
    parse::{ACK, Packet, RST, Segment},
    rewrite::{Edit, rewrite},
    wire::{Link, Skb},
};

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The packet is its own answer now, and has to be sent back.
    Ready,
    /// It must not be answered, or not this one: what is sent again will be.
    Silence,
}

/// Makes a segment the RST that answers it. Options and payload stay what they are; nobody reads them behind a RST. A RST is
/// not answered, nor is a packet that stands for several segments: it would go back as such.
#[inline(always)]
pub fn reply_with_reset(skb: Skb, link: Link, packet: &Packet, segment: &Segment) -> Reply {
    if segment.flags & RST != 0 || segment.is_malformed || segment.is_fragment || skb.is_segmented() {
        return Reply::Silence;
    }
    let old: Option<[u32; 3]> = skb.load(packet.l4 + 4);
    let Some([sequence, acknowledged, control]) = old else {
        return Reply::Silence;
    };
    let answered = segment.flags & ACK != 0;
    // Offset and reserved bits stay; flags and window are the rest.
    let kept = u32::from_be(control) & 0xffc0_0000;
    let new = if answered {
        [acknowledged, 0, (kept | RST << 16).to_be()]
    } else {
        [0, segment.end.to_be(), (kept | (RST | ACK) << 16).to_be()]
    };
    let change = |from: u32, to: u32| {
        // SAFETY: the kernel checks the offset.
        let _ = unsafe { bpf_l4_csum_replace(skb.0, packet.l4 + 16, from as u64, to as u64, 4) };
    };
    change(sequence, new[0]);
    change(acknowledged, new[1]);
    change(control, new[2]);
    skb.store(packet.l4 + 4, &new, 0);
    rewrite(skb, packet, &turned(&packet.src, &packet.dst));
    if link == Link::Ethernet {
        turn_frame(skb);
    }
    Reply::Ready
}

#[inline(always)]
fn turned(src: &Endpoint, dst: &Endpoint) -> Edit {
    Edit { src: *dst, dst: *src }
}

#[inline(always)]
fn turn_frame(skb: Skb) {
    let macs: Option<[[u16; 3]; 2]> = skb.load(0);
    if let Some([to, from]) = macs {
        skb.store(0, &[from, to], 0);
    }
}
