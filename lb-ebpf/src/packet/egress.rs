//! What leaves by an interface: to a backend, or from one to a client; and by the loopback interface, where the route to a
//! VIP leads.

use lb_common::{Endpoint, packet::NodeKey};

use crate::{
    flows::{self, Found},
    forward::{Wanted, forward},
    look::{Short, look},
    maps::{RULES, VIPS},
    nat::{Edit, Link, Packet, Skb, rewrite},
    ports::is_ours,
    reverse::{is_host, reverse},
    straight,
    verdict::{LOOPBACK, NEXT, Place, RECEIVED, redirect},
};
use lb_common::packet::Rules;

/// Decides over a packet that is about to leave.
#[inline(always)]
pub fn egress(skb: Skb, link: Link) -> i32 {
    let is_loopback = skb.ifindex() == LOOPBACK;
    if !is_loopback && skb.take_done() {
        return NEXT;
    }
    let packet = match look(skb, link, &Leaving { skb, link, is_loopback }) {
        Ok(packet) => packet,
        Err(verdict) => return verdict,
    };
    let Some(rules) = RULES.get_ptr(0) else {
        return NEXT;
    };
    if is_ours(packet.dst.port(), rules) {
        let key = NodeKey { backend: packet.src, port: packet.dst.port_word() as u64 };
        if let Some(found) = flows::by_node(&key)
            && is_for(&found, packet, is_loopback)
        {
            return match reverse(skb, packet, &found, rules) {
                Ok(()) if is_loopback => redirect(LOOPBACK, RECEIVED),
                Ok(()) => NEXT,
                Err(verdict) => verdict,
            };
        }
    }
    if is_loopback {
        return own(skb, packet, rules);
    }
    if is_ours(packet.src.port(), rules) {
        mask(skb, packet);
    }
    NEXT
}

struct Leaving {
    skb: Skb,
    link: Link,
    is_loopback: bool,
}

impl Short for Leaving {
    #[inline(always)]
    fn decide(&self, packet: &Packet, _: *mut Packet) -> Option<i32> {
        match self.is_loopback {
            true => straight::to_backend(self.skb, self.link, packet),
            false => None,
        }
    }
}

/// Whether a packet of a backend's is on its way to the connection's client: by the loopback interface to a process of the
/// node's from a backend on the node, by others to whom the node forwards.
#[inline(always)]
fn is_for(found: &Found, packet: &Packet, is_loopback: bool) -> bool {
    // SAFETY: a pointer that the lookup returned.
    let (source, client) = unsafe { ((*found.flow).source, (*found.flow).client.address()) };
    let dst = packet.dst.address();
    // Both are compared: a pointer to one or the other would be refused without CAP_PERFMON.
    let (by_source, by_client) = (source.is(&dst), client.is(&dst));
    is_host(found.flow) == is_loopback && (is_loopback & by_source | !is_loopback & by_client)
}

/// A packet of the node's own for a VIP.
#[inline(always)]
fn own(skb: Skb, packet: &Packet, rules: *const Rules) -> i32 {
    // SAFETY: an element's value is written once, before it is inserted.
    match unsafe { VIPS.get(packet.dst) } {
        Some(&slot) => forward(&Wanted { skb, place: Place::Loopback, packet, slot, rules }),
        None => NEXT,
    }
}

/// Gives a packet of a forwarded client's the address that its backend is to see.
#[inline(always)]
fn mask(skb: Skb, packet: &Packet) {
    let key = NodeKey { backend: packet.dst, port: packet.src.port_word() as u64 };
    let Some(Found { flow, .. }) = flows::by_node(&key) else {
        return;
    };
    // SAFETY: a pointer that the lookup returned.
    let (source, client) = unsafe { ((*flow).source, (*flow).client.address()) };
    if is_host(flow) || !client.is(&packet.src.address()) || source.is(&client) {
        return;
    }
    let src = Endpoint::new(source, packet.src.port_word());
    rewrite(skb, packet, &Edit { src, dst: packet.dst });
}
