//! What a look at the running dataplane says to people.

use std::collections::BTreeSet;

use lb_core::model::Scope;

use super::{PacketDataplane, Running, kernel::pins};
use crate::{
    dataplane::{
        DataplaneError, Inspection,
        evict::CANNOT_END_SOCKETS,
        tc::{Direction, Foreign, Hung, Place, Title},
    },
    os::netlink::routes::LOOPBACK,
    output::yes_no,
};

pub(super) fn inspect(plane: &mut PacketDataplane) -> Result<Inspection, DataplaneError> {
    let Running { hung, foreign } = match plane.running.take() {
        Some(running) => running,
        None => plane.running()?,
    };
    let foreign = foreign?;
    let running: BTreeSet<Place> =
        hung.iter().filter(|(_, hung)| matches!(hung, Hung::Program(_))).map(|(place, _)| *place).collect();
    let interfaces: BTreeSet<u32> = running.iter().map(|place| place.interface).collect();
    Ok(Inspection {
        ineffective: ineffective(&running),
        warnings: [before(plane, &foreign, &running), warnings(plane), slow(plane)].concat(),
        facts: [facts(plane, &interfaces), wires(plane)?].concat(),
    })
}

fn ineffective(running: &BTreeSet<Place>) -> Option<String> {
    let own = Place { interface: LOOPBACK, direction: Direction::Out };
    (!running.contains(&own)).then(|| "no program runs on the loopback interface".to_owned())
}

/// Who has packets before our programs do.
fn before(plane: &PacketDataplane, foreign: &[Foreign], running: &BTreeSet<Place>) -> Vec<String> {
    let before = foreign.iter().filter(|foreign| foreign.before && running.contains(&foreign.place));
    let warnings = before.map(|Foreign { place, title, .. }| {
        let name = plane.world.name(place.interface);
        let what = format!("{} runs before ours on {name}, {}", whose(title), place.direction);
        format!("{what}: packets that it does not pass on do not reach a backend")
    });
    warnings.collect()
}

fn warnings(plane: &PacketDataplane) -> Vec<String> {
    let mut warnings = Vec::new();
    for (place, error) in &plane.refused {
        let name = plane.world.name(place.interface);
        warnings.push(format!("no program runs on {name}, {}: {error}", place.direction));
    }
    if plane.world.left_out > 0 {
        let what = format!("{} interfaces are more than are followed", plane.world.left_out);
        warnings.push(format!("{what}; name those that matter in packet.interfaces"));
    }
    if plane.world.ports_are_shared {
        let what = "net.ipv4.ip_local_port_range leaves no ports for connections on their way";
        let (first, last) = plane.world.port_range();
        warnings.push(format!("{what}; leave out {first}-{last} in net.ipv4.ip_local_reserved_ports"));
    }
    if plane.room != plane.options.connections {
        let what = format!("the table of connections keeps its size of {}", plane.room);
        let remedy = "`lbctl cleanup` and a start make one of the configured size";
        warnings.push(format!("{what} instead of {}; {remedy}", plane.options.connections));
    }
    if !plane.evictor.can_end_sockets() {
        warnings.push(format!(
            "{CANNOT_END_SOCKETS}: connections to a dead backend last until their own time-out"
        ));
    }
    if !plane.evictor.can_reset() {
        let what = "connections of other machines cannot be ended when their backend dies";
        warnings.push(format!("{what} (CAP_NET_RAW)"));
    }
    warnings
}

/// Why XDP is not used where it should be.
fn slow(plane: &PacketDataplane) -> Vec<String> {
    let refused = plane.world.wires.refused.iter().chain(&plane.slow);
    let refused = refused.map(|(wire, why)| format!("XDP is not used on {}: {why}", plane.world.name(*wire)));
    let unloaded = plane.programs.wire().and_then(Result::err);
    refused.chain(unloaded.map(|why| format!("XDP is not used: {why}"))).collect()
}

fn wires(plane: &PacketDataplane) -> Result<Vec<(String, String)>, DataplaneError> {
    let running = plane.fast.observe()?;
    let running = running.iter().filter(|(_, hung)| matches!(hung, Hung::Program(_)));
    let names: Vec<_> = running.map(|(wire, _)| plane.world.name(*wire)).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![("xdp".to_owned(), names.join(" "))])
}

/// What people know somebody else's program by.
pub(super) fn whose(title: &Title) -> String {
    match title {
        Title::Tcx { id, name } => {
            name.as_ref().map_or_else(|| format!("program {id}"), |name| format!("program {name}"))
        }
        Title::Filter { kind, name, .. } => {
            name.as_ref().map_or_else(|| format!("a {kind} filter"), |name| format!("filter {name}"))
        }
    }
}

fn facts(plane: &PacketDataplane, interfaces: &BTreeSet<u32>) -> Vec<(String, String)> {
    let interfaces = plane.world.interfaces.iter().filter(|interface| interfaces.contains(&interface.index));
    let interfaces: Vec<_> = interfaces.map(|interface| interface.name.clone()).collect();
    let (first, ports) = plane.world.ports();
    let mut facts = vec![
        ("pins", pins(&plane.options.bpffs).base().display().to_string()),
        ("attached by", plane.hooks.mechanism().to_string()),
        ("interfaces", shown(&interfaces, " ")),
        ("ports", format!("{first}-{}", (first + ports).saturating_sub(1))),
        ("table", format!("{} connections", plane.room)),
        ("ends sockets", yes_no(plane.evictor.can_end_sockets()).to_owned()),
    ];
    if plane.options.scope == Scope::Node {
        facts.push(("shortcut", shortcut(plane)));
    }
    facts.push(("answers", answers(plane)));
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
}

fn shortcut(plane: &PacketDataplane) -> String {
    match plane.world.onlookers.as_slice() {
        _ if !plane.options.shortcut => "off".to_owned(),
        [] => "on".to_owned(),
        onlookers => format!("off, for the sake of {}", shown(onlookers, ", ")),
    }
}

/// By which interface the node's own processes receive them.
fn answers(plane: &PacketDataplane) -> String {
    let refused = plane.world.answers.iter().filter(|(_, taken)| !**taken);
    let refused: Vec<_> =
        refused.map(|((vip, interface), _)| format!("{vip} on {}", plane.world.name(*interface))).collect();
    match (plane.world.onlookers.as_slice(), refused.as_slice()) {
        _ if !plane.options.shortcut => "received by lo".to_owned(),
        ([], []) => "received where they come in".to_owned(),
        ([], refused) => format!("received by lo where rp_filter is strict: {}", shown(refused, ", ")),
        (onlookers, _) => format!("received by lo, for the sake of {}", shown(onlookers, ", ")),
    }
}

/// As many as a line has room for.
fn shown(names: &[String], between: &str) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(between);
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
