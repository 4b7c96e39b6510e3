//! From a backend to the client: packets of connections that are known.

use lb_common::{
    Endpoint,
    packet::{DROP_FRAGMENT, DROP_GIVEN_UP, FLOW_HOST, Flow, Rules},
};

use crate::{
    flows::{self, Found},
    forward::is_rescued,
    maps::VIPS,
    nat::{Edit, Kind, Packet, RST, Skb, rewrite},
    verdict::drop,
};

/// Follows a packet of the backend's and makes it one of the VIP's. `Err`: it is not passed on.
#[inline(always)]
pub fn reverse(skb: Skb, packet: &Packet, found: &Found, rules: *const Rules) -> Result<(), i32> {
    let flow = found.flow;
    match packet.kind() {
        Kind::Tcp(segment) => {
            if segment.is_fragment {
                return Err(drop(DROP_FRAGMENT));
            }
            if segment.flags & RST != 0 && is_given_up(found, rules) {
                return Err(drop(DROP_GIVEN_UP));
            }
            flows::answered(flow, &segment);
        }
        Kind::Icmp(_) if is_given_up(found, rules) => return Err(drop(DROP_GIVEN_UP)),
        Kind::Icmp(_) => {}
    }
    // SAFETY: a pointer that the lookup returned.
    let (src, dst) = unsafe { ((*flow).vip, (*flow).client) };
    rewrite(skb, packet, &Edit { src, dst });
    Ok(())
}

#[inline(always)]
fn is_given_up(found: &Found, rules: *const Rules) -> bool {
    // SAFETY: a pointer that the lookup returned; an element's value is written once, before it is inserted.
    let Some(&slot) = (unsafe { VIPS.get((*found.flow).vip) }) else {
        return false;
    };
    is_rescued(found, slot, rules)
}

/// Gives a packet for the node the address of the client that it is for; the stack takes it there.
#[inline(always)]
pub fn unmask(skb: Skb, packet: &Packet, flow: *const Flow) {
    // SAFETY: a pointer that the lookup returned.
    let client = unsafe { (*flow).client.address() };
    if client.is(&packet.dst.address()) {
        return;
    }
    let dst = Endpoint::new(client, packet.dst.port_word());
    rewrite(skb, packet, &Edit { src: packet.src, dst });
}

/// Whether its client is a process of this network namespace.
#[inline(always)]
pub fn is_host(flow: *const Flow) -> bool {
    // SAFETY: a pointer that the lookup returned.
    unsafe { (*flow).state & FLOW_HOST != 0 }
}
