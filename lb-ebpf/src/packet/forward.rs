//! From a client to the backend: packets for a VIP.

use lb_common::{
    Endpoint,
    packet::{
        ClientKey, DROP_FRAGMENT, DROP_FULL, DROP_MALFORMED, DROP_NO_BACKEND, DROP_NO_WAY, DROP_SCOPE,
        DROP_UNKNOWN, FLOW_ANSWERED, FLOW_CLIENT_DONE, FLOW_HOST, FLOW_RESET, Flow, NodeKey, Rules,
        TALLY_BEGUN, TALLY_RESCUED,
    },
};

use crate::{
    apart::{NONE, lbctl_other},
    choice::lbctl_choose,
    choose::add,
    fib::{leave, leave_to},
    flows::{self, Found, MaybeFound, Stage},
    maps::{BACKENDS, WAYS},
    nat::{ACK, Edit, Kind, Link, Packet, Reach, SYN, Segment, Skb, rewrite, rewrite_near},
    ports::{self, Beginning},
    shortcut::Segmented,
    straight,
    verdict::{LOOPBACK, NEXT, Place, RECEIVED, count, drop, redirect, refuse},
};

/// A connection that was not answered is sent to so many others at most.
const MOST_TRIES: u16 = 3;

/// A packet for the VIP in this slot.
pub struct Wanted<'a> {
    pub skb: Skb,
    pub place: Place,
    pub packet: &'a Packet,
    pub slot: u32,
    pub rules: *const Rules,
}

/// Sends it to its backend.
#[inline(always)]
pub fn forward(wanted: &Wanted) -> i32 {
    let packet = wanted.packet;
    let client = ClientKey { client: packet.src, vip: packet.dst };
    let mut node = NodeKey { backend: packet.dst, port: 0 };
    let found = flows::by_client(&client, &mut node);
    let segment = match packet.kind() {
        Kind::Icmp(_) => {
            return match found.get() {
                Some(found) => send(wanted.skb, Reach::Far, packet, &node, found.flow, false),
                None => NEXT,
            };
        }
        Kind::Tcp(segment) => segment,
    };
    if segment.is_fragment {
        return drop(DROP_FRAGMENT);
    }
    if segment.is_malformed {
        return drop(DROP_MALFORMED);
    }
    let flow = if segment.flags & (SYN | ACK) == SYN {
        match greet(wanted, &client, &mut node, found) {
            Ok(flow) => flow,
            Err(Refusal::Untouched) => return NEXT,
            Err(Refusal::Refused(reason)) => {
                return refuse(wanted.skb, wanted.place, packet, &segment, reason);
            }
            Err(Refusal::Dropped(reason)) => return drop(reason),
        }
    } else {
        match go_on(&client, &node, found, &segment) {
            Some(flow) => flow,
            None if !takes(wanted.rules) => return NEXT,
            None => return refuse(wanted.skb, wanted.place, packet, &segment, DROP_UNKNOWN),
        }
    };
    if wanted.place == Place::Ingress(Link::Ethernet)
        && let Some(verdict) =
            (Segmented { skb: wanted.skb, packet, segment: &segment, flow, rules: wanted.rules })
                .to_backend(&node)
    {
        return verdict;
    }
    let is_answer = flows::sent(flow, &segment);
    if wanted.place == Place::Loopback {
        straight::remember(packet, &node);
    }
    send(wanted.skb, Reach::Far, packet, &node, flow, is_answer)
}

/// Why a SYN is not sent on.
enum Refusal {
    Untouched,
    Refused(u32),
    Dropped(u32),
}

#[inline(always)]
fn takes(rules: *const Rules) -> bool {
    // SAFETY: a pointer that the lookup returned.
    unsafe { (*rules).takes != 0 }
}

/// The flow of any packet but a SYN.
#[inline(always)]
fn go_on(client: &ClientKey, node: &NodeKey, found: MaybeFound, segment: &Segment) -> Option<*mut Flow> {
    let Found { flow, stage } = found.get()?;
    // SAFETY: a pointer that the lookup returned.
    let answered = unsafe { (*flow).state } & FLOW_ANSWERED != 0;
    if stage == Stage::Opening && answered && segment.flags & ACK != 0 {
        return flows::open(client, node, flow);
    }
    Some(flow)
}

/// The flow of a SYN: a new one, or where it has been sent before the one that it has.
#[inline(always)]
fn greet(
    wanted: &Wanted,
    client: &ClientKey,
    node: &mut NodeKey,
    found: MaybeFound,
) -> Result<*mut Flow, Refusal> {
    let mut turn = Turn { index: NONE, tries: 0, first: 0 };
    if let Some(found) = found.get() {
        // SAFETY: a pointer that the lookup returned.
        let (state, tries) = unsafe { ((*found.flow).state, (*found.flow).tries) };
        if found.stage == Stage::Opening && state & FLOW_ANSWERED == 0 {
            if state & FLOW_CLIENT_DONE != 0 {
                // It has reset what the backend knew by this port, so this one is free there, as others may not be.
                // SAFETY: as above.
                unsafe { (*found.flow).state = state & !(FLOW_CLIENT_DONE | FLOW_RESET) };
                return Ok(found.flow);
            }
            // SAFETY: as above.
            if tries >= MOST_TRIES || unsafe { (*wanted.rules).rescues } == 0 {
                return Ok(found.flow);
            }
            turn = Turn { index: other(wanted.slot, found.flow), tries: tries + 1, first: first(found.flow) };
            if turn.index == NONE {
                return Ok(found.flow);
            }
        } else if !flows::is_over(state) {
            return Ok(found.flow);
        }
        flows::forget(client, node, &found);
    }
    begin(wanted, client, node, &turn)
}

/// Whose turn it is to be tried.
struct Turn {
    /// [`NONE`]: anybody's.
    index: u32,
    tries: u16,
    first: u16,
}

/// The index of another backend than those that a connection was sent to, or [`NONE`].
#[inline(always)]
fn other(slot: u32, flow: *const Flow) -> u32 {
    // SAFETY: a pointer that the lookup returned.
    let (last, first) = unsafe { ((*flow).index, (*flow).first) };
    lbctl_other(slot, last, (first as u32).wrapping_sub(1))
}

/// What [`Flow::first`] is where the connection goes to another backend.
#[inline(always)]
fn first(flow: *const Flow) -> u16 {
    // SAFETY: as above.
    match unsafe { (*flow).first } {
        0 => unsafe { (*flow).index as u16 + 1 },
        first => first,
    }
}

#[inline(always)]
fn begin(wanted: &Wanted, client: &ClientKey, node: &mut NodeKey, turn: &Turn) -> Result<*mut Flow, Refusal> {
    let rules = wanted.rules;
    if !takes(rules) {
        return Err(Refusal::Untouched);
    }
    let is_host = wanted.place == Place::Loopback && !wanted.skb.is_forwarded();
    // SAFETY: a pointer that the lookup returned.
    let (forwards, masquerades) = unsafe { ((*rules).forwards, (*rules).masquerades) };
    if !is_host && (forwards == 0 || wanted.place == Place::Loopback) {
        return Err(Refusal::Refused(DROP_SCOPE));
    }
    let index = if turn.index == NONE { lbctl_choose(wanted.slot) } else { turn.index };
    let backend = BACKENDS.get_ptr_mut(index).ok_or(Refusal::Refused(DROP_NO_BACKEND))?;
    let way = WAYS.get_ptr(index).ok_or(Refusal::Refused(DROP_NO_WAY))?;
    // SAFETY: pointers that lookups returned.
    let (ifindex, is_local) = unsafe { ((*way).ifindex, (*way).local != 0) };
    if ifindex == 0 {
        return Err(Refusal::Refused(DROP_NO_WAY));
    }
    // A source that is local to this node would be a martian to it.
    // SAFETY: as above.
    let source = match (is_host, is_local) {
        (true, true) => wanted.packet.dst.address(),
        (true, false) => unsafe { (*way).source },
        (false, false) if masquerades != 0 => unsafe { (*way).source },
        (false, _) => wanted.packet.src.address(),
    };
    let what = Beginning {
        index,
        source,
        state: if is_host { FLOW_HOST } else { 0 },
        tries: turn.tries,
        first: turn.first,
        ifindex: if is_host { 0 } else { wanted.skb.ifindex() },
    };
    // SAFETY: as above.
    let endpoint = unsafe { (*backend).endpoint };
    let flow = ports::begin(client, &endpoint, &what, rules, node).ok_or(Refusal::Dropped(DROP_FULL))?;
    // SAFETY: as above.
    unsafe { add(&raw mut (*backend).total, 1) };
    count(TALLY_BEGUN);
    if turn.tries > 0 {
        count(TALLY_RESCUED);
    }
    Ok(flow)
}

/// The node's own packets get the source that the backend is to see, and leave; others go on to be routed.
///
/// What answers a packet that has just come from a neighbour goes back to it without a look-up of the route: the way was open
/// then. Anything else might go to an interface that is down, for which the kernel would begin to look for the neighbour in vain,
/// and go on for a second after it is up.
#[inline(always)]
pub fn send(
    skb: Skb,
    reach: Reach,
    packet: &Packet,
    node: &NodeKey,
    flow: *const Flow,
    is_answer: bool,
) -> i32 {
    // SAFETY: a pointer that the lookup returned.
    let (is_host, source, index) = unsafe { ((*flow).state & FLOW_HOST != 0, (*flow).source, (*flow).index) };
    let address = if is_host { source } else { packet.src.address() };
    let edit = Edit { src: Endpoint::new(address, node.port as u32), dst: node.backend };
    match reach {
        Reach::Far => rewrite(skb, packet, &edit),
        Reach::Near(link) => rewrite_near(skb, link, packet, &edit),
    }
    if !is_host {
        return NEXT;
    }
    let Some(way) = WAYS.get_ptr(index) else {
        return drop(DROP_NO_WAY);
    };
    // SAFETY: as above.
    let (ifindex, is_local, is_on_link) = unsafe { ((*way).ifindex, (*way).local != 0, (*way).on_link != 0) };
    if is_local {
        return redirect(LOOPBACK, RECEIVED);
    }
    if ifindex == 0 {
        return drop(DROP_NO_WAY);
    }
    skb.set_done();
    match is_answer && is_on_link {
        true => leave_to(ifindex, node.backend.address(), packet.v6),
        false => leave(ifindex),
    }
}

/// Whether a refusal by a backend may be kept from the client: the SYN that it sends again goes to another.
#[inline(always)]
pub fn is_rescued(found: &Found, slot: u32, rules: *const Rules) -> bool {
    // SAFETY: pointers that lookups returned.
    unsafe {
        let flow = found.flow;
        let rescued = found.stage == Stage::Opening
            && (*flow).state & FLOW_ANSWERED == 0
            && (*flow).tries < MOST_TRIES
            && (*rules).rescues != 0
            && other(slot, flow) != NONE;
        if rescued {
            (*flow).state |= FLOW_RESET;
        }
        if let Some(backend) = BACKENDS.get_ptr_mut((*flow).index)
            && found.stage == Stage::Opening
            && (*flow).state & FLOW_ANSWERED == 0
        {
            add(&raw mut (*backend).refused, 1);
        }
        rescued
    }
}
