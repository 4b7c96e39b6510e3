//! What must hold whatever comes.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    Endpoint,
    packet::{FLOW_HOST, TALLY_BEGUN},
};
use lb_user::dataplane::services::encode;

use super::{
    case::{Case, Shot},
    view::{View, view},
};
use crate::{
    conversation::{Conversation, Kind},
    family::Family,
    kernel::{Extra, Hook, Interface, Outcome, Verdict},
    packet::{ACK, SYN},
    setup::{Setup, hex},
};

/// How often things came about.
#[derive(Debug, Default)]
pub struct Seen {
    shots: u64,
    untouched: u64,
    foreign: u64,
    dropped: u64,
    sent_on: u64,
    redirected: u64,
    errors: u64,
    right_sums: u64,
    there_and_back: u64,
    refused_by_kernel: u64,
}

impl Seen {
    pub fn assert_nothing_is_missing(&self) {
        let Self {
            untouched, foreign, dropped, sent_on, redirected, errors, right_sums, there_and_back, ..
        } = self;
        for count in [untouched, foreign, dropped, sent_on, redirected, errors, right_sums, there_and_back] {
            assert!(*count > 0);
        }
    }
}

pub fn check(setup: &mut Setup, case: &Case, seen: &mut Seen) -> Result<(), String> {
    case.prepare(setup);
    for shot in &case.shots {
        let hook = shot.hook(setup);
        let given = shot.bytes(setup, hook);
        let told = |what: String| format!("{what}\nat {hook:?}\ngiven {}", hex(&given));
        fire(setup, shot, hook, &given, seen).map_err(told)?;
        if let Some(view) = view(&given, hook.bare) {
            there_and_back(setup, case, hook, &view, seen).map_err(told)?;
        }
    }
    Ok(())
}

fn fire(setup: &mut Setup, shot: &Shot, hook: Hook, given: &[u8], seen: &mut Seen) -> Result<(), String> {
    let before = setup.tally();
    let extra = Extra { segments: if shot.segments { 3 } else { 0 }, ..Extra::default() };
    let outcome = match setup.kernel.run_as(hook, given, extra) {
        Ok((outcome, _)) => outcome,
        // Too short or too long for it.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            seen.refused_by_kernel += 1;
            return Ok(());
        }
        Err(error) => return Err(format!("the kernel says {error}")),
    };
    seen.shots += 1;
    verdict_and_length(&outcome, hook, given, seen)?;
    let is_same = outcome.verdict == Verdict::Next && outcome.bytes == given;
    if !concerns(setup.form.family, given) {
        seen.foreign += 1;
        if !is_same || setup.tally() != before {
            return Err(format!("foreign, and became {:?} {}", outcome.verdict, hex(&outcome.bytes)));
        }
    }
    if outcome.verdict == Verdict::Drop {
        return Ok(());
    }
    if is_same {
        seen.untouched += 1;
        return Ok(());
    }
    changed(setup, hook, given, &outcome, seen)
}

fn verdict_and_length(outcome: &Outcome, hook: Hook, given: &[u8], seen: &mut Seen) -> Result<(), String> {
    match outcome.verdict {
        Verdict::Next => seen.sent_on += u64::from(outcome.bytes != given),
        Verdict::Drop => seen.dropped += 1,
        Verdict::Redirect => seen.redirected += 1,
        Verdict::Other(other) => return Err(format!("verdict {other}")),
    }
    let may_grow = hook.bare && !hook.outwards && outcome.verdict == Verdict::Redirect;
    match outcome.bytes.len() - given.len() {
        0 => Ok(()),
        14 if may_grow => Ok(()),
        more => Err(format!("{more} bytes more")),
    }
}

/// Whether the address of the VIP or of a backend is anywhere in it: without, it cannot be the programs' business.
fn concerns(family: Family, bytes: &[u8]) -> bool {
    let ips = [family.vip().ip(), family.backend(1).ip(), family.backend(2).ip(), family.backend(3).ip()];
    ips.into_iter().any(|ip| match ip {
        IpAddr::V4(ip) => bytes.windows(4).any(|window| window == ip.octets()),
        IpAddr::V6(ip) => bytes.windows(16).any(|window| window == ip.octets()),
    })
}

/// Only addresses, ports and checksums, or what makes a RST of it; and every checksum that was right is right.
fn changed(
    setup: &mut Setup,
    hook: Hook,
    given: &[u8],
    outcome: &Outcome,
    seen: &mut Seen,
) -> Result<(), String> {
    let told = |what: &str| format!("{what}: became {:?} {}", outcome.verdict, hex(&outcome.bytes));
    let before = view(given, hook.bare).ok_or_else(|| told("changed, and not to be read"))?;
    seen.errors += u64::from(before.is_error);
    let added = outcome.bytes.len() - given.len();
    let mut allowed = before.fields.clone();
    if outcome.verdict == Verdict::Redirect {
        allowed.push(before.control.clone());
        // The addresses of the frame.
        if !hook.bare {
            allowed.push(0..12);
        }
    }
    let differs = |at: &usize| given[*at] != outcome.bytes[*at + added];
    let at = (0..given.len()).filter(differs).find(|at| !allowed.iter().any(|range| range.contains(at)));
    if let Some(at) = at {
        return Err(told(&format!("byte {at} changed")));
    }
    let after = view(&outcome.bytes[added..], hook.bare).ok_or_else(|| told("not to be read any more"))?;
    for ((what, was), (_, is)) in before.sums.iter().zip(&after.sums) {
        if *was && !is {
            return Err(told(&format!("checksum of {what}")));
        }
        seen.right_sums += u64::from(*was);
    }
    let is_error = before.is_error;
    match (before.ends, after.ends) {
        (Some(before), Some(after)) if is_due(setup, hook, outcome.verdict, is_error, before, after) => {
            Ok(())
        }
        (before, after) => Err(told(&format!("{before:?} became {after:?}"))),
    }
}

type Ends = (SocketAddr, SocketAddr);

/// Whether a connection in the table, or a refusal, has these ends become those at this hook.
fn is_due(
    setup: &mut Setup,
    hook: Hook,
    verdict: Verdict,
    is_error: bool,
    before: Ends,
    after: Ends,
) -> bool {
    let loopback = hook.interface == Interface::Loopback;
    let next = verdict == Verdict::Next;
    let enters = !hook.outwards || loopback;
    let in_place = setup.way.in_place != 0 && hook.interface == Interface::Uplink;
    if before.1 == setup.form.family.vip() && after == (before.1, before.0) {
        return enters && !next;
    }
    setup.flows().into_iter().any(|(node, flow)| {
        let is_host = flow.state & FLOW_HOST != 0;
        let port = u16::from_be(node.port as u16);
        let at = |address| encode::socket_addr(&Endpoint::new(address, u32::from(port.to_be())));
        let (client, vip) = (encode::socket_addr(&flow.client), encode::socket_addr(&flow.vip));
        let (source, middle) = (at(flow.source), at(flow.client.address()));
        let backend = encode::socket_addr(&node.backend);
        let seen = if is_host { source } else { middle };
        let toward = before == (client, vip) && after == (seen, backend) && enters && next != is_host;
        let masked = before == (middle, backend) && after == (source, backend);
        let unmasked = before == (backend, source) && after == (backend, middle);
        let back = after == (vip, client)
            && match (is_host, hook.outwards) {
                // An error of a router's stays where it came in.
                (true, false) => before == (backend, source) && (!next || is_error || in_place),
                (true, true) => before == (backend, source) && !next && loopback,
                (false, out) => before == (backend, middle) && next && out && !loopback,
            };
        toward
            || masked && hook.outwards && !loopback && next && !is_host
            || unmasked && !hook.outwards && next && !is_host
            || back
    })
}

/// A connection that the packet may have begun brings answers back to the client, as from the VIP, and takes its packets to
/// the same backend.
fn there_and_back(
    setup: &mut Setup,
    case: &Case,
    hook: Hook,
    packet: &View,
    seen: &mut Seen,
) -> Result<(), String> {
    let family = setup.form.family;
    let Some((client, vip)) = packet.ends else { return Ok(()) };
    let is_simple = client.ip() == family.client().ip() || client.ip() == family.node();
    if packet.is_error || vip != family.vip() || !is_simple || !case.has_way() {
        return Ok(());
    }
    let Some((_, _, flow)) = setup.known(client) else { return Ok(()) };
    let kind = match (flow.state & FLOW_HOST != 0, case.is_local()) {
        (true, true) => Kind::HostLocal,
        (true, false) => Kind::Host,
        (false, _) => Kind::Forwarded,
    };
    // A client of the node's address that the node forwards for is nobody.
    if (kind == Kind::Forwarded) == (client.ip() == family.node()) || hook.interface == Interface::Uplink {
        return Ok(());
    }
    let talk = Conversation::known(setup, kind, client);
    let (mut toward, mut back) = (talk.toward(setup), talk.back(setup));
    if kind == Kind::Forwarded && case.is_local() {
        toward.truncate(1);
        back.remove(0);
    }
    talk.goes(setup, &back, |setup, step| setup.tcp(step.hook, step.before.0, step.before.1, SYN | ACK));
    talk.goes(setup, &toward, |setup, step| setup.tcp(step.hook, step.before.0, step.before.1, ACK));
    if !setup.tally().contains_key(&TALLY_BEGUN) {
        return Err("a connection that was never begun".to_owned());
    }
    seen.there_and_back += 1;
    Ok(())
}
