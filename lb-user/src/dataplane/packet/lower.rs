//! What the kernel should hold. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_core::{desired::DesiredState, model::Scope};

use super::{
    Options,
    native::PacketState,
    world::{self, Rules, World},
};
use crate::{
    dataplane::{
        services,
        tc::{Hung, Place},
    },
    os::netlink::{interfaces::Framing, vip_routes::VipRoute},
};

/// All of it. `program` is the id of the program that should run at a place, `fast` of that for XDP on an interface, if there is
/// one; `takes`: new connections are taken.
pub fn lower(
    desired: &DesiredState,
    options: &Options,
    world: &World,
    takes: bool,
    program: impl Fn(Place, Framing) -> u32,
    fast: impl Fn(u32) -> Option<u32>,
) -> PacketState {
    let places = world.places(|name| options.interfaces.has(name));
    let hooks = places.into_iter().map(|(place, framing)| (place, Hung::Program(program(place, framing))));
    let services = services::lower(desired, &options.node);
    let pairs = services.iter().flat_map(|(vip, s)| s.members.iter().map(move |member| (*vip, *member)));
    let ways = pairs.filter_map(|pair| Some((pair, world.way_of(pair.0.ip(), pair.1.ip())?))).collect();
    let wires = &world.wires.used;
    let fast = wires.keys().filter_map(|wire| Some((*wire, Hung::Program(fast(*wire)?))));
    PacketState {
        fast: fast.collect(),
        wires: wires.clone(),
        hooks: hooks.collect(),
        rules: rules(options, world, takes),
        ways,
        // Without new connections there are none of the node's own to be led here; those that are open keep their route.
        routes: routes(desired, world),
        services,
    }
}

/// What the programs should be told.
pub fn rules(options: &Options, world: &World, takes: bool) -> Rules {
    let (first_port, ports) = world.ports();
    Rules {
        first_port,
        ports,
        takes,
        forwards: options.scope == Scope::Node,
        masquerades: options.masquerade,
        rescues: options.rescue,
        shortens: options.shortcut && options.scope == Scope::Node && world.onlookers.is_empty(),
    }
}

fn routes(desired: &DesiredState, world: &World) -> BTreeMap<IpAddr, VipRoute> {
    let mut by_vip: BTreeMap<IpAddr, Vec<SocketAddr>> = BTreeMap::new();
    for service in &desired.services {
        by_vip.entry(service.vip.ip()).or_default().extend(world::members(service));
    }
    by_vip.into_iter().filter_map(|(vip, members)| Some((vip, world.vip_route(vip, &members)?))).collect()
}
