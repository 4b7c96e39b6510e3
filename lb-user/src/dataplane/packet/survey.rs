//! What `lbctl doctor` wants to know of a node. Loads nothing and changes nothing.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use lb_core::{config::Interfaces, doctor::PacketFacts};

use super::{Options, PacketDataplane, fast, inspect::whose, kernel::pins, made, wires::Wires, world::World};
use crate::{
    dataplane::{
        DataplaneError, socket,
        tc::{Hooks, Hung, Owner, Place},
    },
    os::netlink::routes::LOOPBACK,
};

impl PacketDataplane {
    /// What it meets, or would, with these backends.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn survey(options: &Options, backends: &BTreeSet<SocketAddr>) -> Result<PacketFacts, DataplaneError> {
        let addresses: BTreeSet<IpAddr> = backends.iter().map(SocketAddr::ip).collect();
        let world = World::look_towards(addresses.clone())
            .map_err(DataplaneError::failed("look at", "interfaces and routes"))?;
        let ways = world.ways();
        let leads = |index: u32| ways.values().any(|way| way.interface == index && !way.local);
        let mut facts = PacketFacts {
            unmatched: unmatched(&options.interfaces, &world),
            left_out: world.left_out,
            unreachable: addresses.into_iter().filter(|address| !ways.contains_key(address)).collect(),
            ports: world.port_range(),
            ports_are_shared: world.ports_are_shared,
            foreign_before: before(options, &world)?,
            ..PacketFacts::default()
        };
        let wires = Wires::look(options, &world.interfaces, &fast(&options.bpffs).observe()?)
            .map_err(DataplaneError::failed("look at", "interfaces for XDP"))?;
        facts.wires = wires.used.keys().map(|wire| world.name(*wire)).collect();
        let refused = wires.refused.iter();
        facts.no_xdp = refused.map(|(wire, why)| format!("{}: {why}", world.name(*wire))).collect();
        let followed = world.followed(&options.interfaces);
        for interface in world.interfaces.iter().filter(|interface| followed.contains(&interface.index)) {
            match interface.index {
                LOOPBACK => {}
                index if leads(index) => facts.uplinks.push(interface.name.clone()),
                _ => facts.facing.push(interface.name.clone()),
            }
        }
        Ok(facts)
    }
}

fn unmatched(interfaces: &Interfaces, world: &World) -> Vec<String> {
    let Interfaces::Named(patterns) = interfaces else { return Vec::new() };
    let names = || world.interfaces.iter().flat_map(|found| found.other_names.iter().chain([&found.name]));
    let unmatched = patterns.iter().filter(|pattern| !names().any(|name| pattern.matches(name)));
    unmatched.map(ToString::to_string).collect()
}

/// Where ours run, who runs before. Elsewhere it is not known yet who would.
fn before(options: &Options, world: &World) -> Result<Vec<String>, DataplaneError> {
    let (links, made) = (pins(&options.bpffs).links(), made(&options.bpffs));
    let hung = Hooks::peek(&links, &made, Owner::Packet)?;
    let running: BTreeSet<Place> =
        hung.iter().filter(|(_, hung)| matches!(hung, Hung::Program(_))).map(|(place, _)| *place).collect();
    let own = socket::rescue_programs(&options.bpffs);
    let interfaces: BTreeSet<u32> = running.iter().map(|place| place.interface).collect();
    let foreign = Hooks::foreign(interfaces, &hung, &own)?;
    let lines =
        foreign.iter().filter(|foreign| foreign.before && running.contains(&foreign.place)).map(|foreign| {
            format!(
                "{} on {}, {}",
                whose(&foreign.title),
                world.name(foreign.place.interface),
                foreign.place.direction
            )
        });
    Ok(lines.collect())
}
