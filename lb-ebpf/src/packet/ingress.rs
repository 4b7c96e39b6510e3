//! What comes in by an interface: for a VIP, or from a backend.

use aya_ebpf::helpers::generated::bpf_skb_change_head;
use lb_common::packet::{NodeKey, Rules};

use crate::{
    flows,
    forward::{Wanted, forward},
    look::{Short, look},
    maps::{OPEN_FLOWS, RULES, VIPS},
    nat::{Kind, Link, Packet, Skb},
    ports::is_ours,
    reverse::{is_host, reverse, unmask},
    shortcut::Segmented,
    straight,
    verdict::{DROP, LOOPBACK, NEXT, Place, RECEIVED, redirect},
    ways::is_in_place,
};

/// Decides over a packet that came in.
#[inline(always)]
pub fn ingress(skb: Skb, link: Link) -> i32 {
    // With its tag the loopback interface would take it for another machine's.
    if skb.is_others() || skb.is_tagged() {
        return NEXT;
    }
    let Some(rules) = RULES.get_ptr(0) else {
        return NEXT;
    };
    let packet = match look(skb, link, &Arriving { skb, link, rules }) {
        Ok(packet) => packet,
        Err(verdict) => return verdict,
    };
    if is_ours(packet.dst.port(), rules) {
        let key = NodeKey { backend: packet.src, port: packet.dst.port_word() as u64 };
        if let Some(found) = flows::by_node(&key) {
            // SAFETY: a pointer that the lookup returned.
            let source = unsafe { (*found.flow).source };
            if source.is(&packet.dst.address()) {
                if !is_host(found.flow) {
                    unmask(skb, packet, found.flow);
                    return NEXT;
                }
                return match reverse(skb, packet, &found, rules) {
                    // From a router: the way to it is by this interface, and a strict rp_filter looks.
                    Ok(()) if packet.is_error_of_other() => NEXT,
                    Ok(()) if is_in_place(skb, found.flow) => NEXT,
                    Ok(()) => receive(skb, link, packet),
                    Err(verdict) => verdict,
                };
            }
        }
    }
    // SAFETY: an element's value is written once, before it is inserted.
    match unsafe { VIPS.get(packet.dst) } {
        Some(&slot) => forward(&Wanted { skb, place: Place::Ingress(link), packet, slot, rules }),
        None => NEXT,
    }
}

struct Arriving {
    skb: Skb,
    link: Link,
    rules: *const Rules,
}

impl Short for Arriving {
    /// A segment of a backend's on a connection that is open.
    #[inline(always)]
    fn decide(&self, packet: &Packet, place: *mut Packet) -> Option<i32> {
        let Self { skb, link, rules } = *self;
        if !is_ours(packet.dst.port(), rules) {
            return None;
        }
        let key = NodeKey { backend: packet.src, port: packet.dst.port_word() as u64 };
        let flow = OPEN_FLOWS.get_ptr_mut(&key)?;
        // SAFETY: a pointer that the lookup returned.
        let source = unsafe { (*flow).source };
        if !source.is(&packet.dst.address()) {
            return None;
        }
        if is_host(flow) {
            return straight::to_process(skb, link, packet, flow);
        }
        match packet.kind() {
            Kind::Tcp(segment) if link == Link::Ethernet => {
                // SAFETY: nobody else uses it.
                let packet = unsafe {
                    packet.store(place);
                    &*place
                };
                Segmented { skb, packet, segment: &segment, flow, rules }.to_client()
            }
            _ => None,
        }
    }
}

/// Lets the loopback interface receive it: the route to the VIP leads there, so a strict rp_filter has no objection.
#[inline(always)]
fn receive(skb: Skb, link: Link, packet: &Packet) -> i32 {
    if link == Link::None {
        // SAFETY: the context is valid; fourteen bytes for an Ethernet header, which the interface expects.
        if unsafe { bpf_skb_change_head(skb.0, Link::Ethernet.header(), 0) } != 0 {
            return DROP;
        }
        let protocol: u16 = if packet.v6 { 0x86dd } else { 0x0800 };
        skb.store(12, &protocol.to_be(), 0);
    }
    // Its address is all zeros; what is for another would not be received.
    skb.store(0, &[0_u16; 6], 0);
    redirect(LOOPBACK, RECEIVED)
}
