//! What would be done, as far as that can be told without doing it.

use std::collections::BTreeMap;

use lb_core::desired::DesiredState;

use super::{
    Options, PacketDataplane, PacketState, Running, answers, fast,
    kernel::{PacketMaps, WireMaps, pins},
    lower::lower,
    made, native, onlookers,
    wires::{Wire, Wires},
    world::{Way, World},
};
use crate::dataplane::{
    DataplaneError,
    services::{Pins, Tables},
    socket,
    tc::{self, Hooks, Hung, Owner, Place, ROUTES},
    xdp,
};

impl PacketDataplane {
    /// The changes that lead to `desired`, a line each. Loads nothing and changes nothing. An agent's start replaces
    /// programs that run by its own; that is no change.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn plan(options: &Options, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
        let mut world =
            World::look(desired).map_err(DataplaneError::failed("look at", "interfaces and routes"))?;
        let observed = observe(options)?;
        let running = |place: Place| match observed.hooks.get(&place) {
            Some(Hung::Program(id)) => *id,
            Some(Hung::Nothing) | None => 0,
        };
        world.wires = Wires::look(options, &world.interfaces, &observed.fast)
            .map_err(DataplaneError::failed("look at", "interfaces for XDP"))?;
        let ours = socket::rescue_programs(&options.bpffs);
        let foreign = Hooks::foreign(world.followed(&options.interfaces), &observed.hooks, &ours);
        let here = Running { hung: observed.hooks.clone(), foreign };
        world.onlookers = onlookers::look(options, &world, &here);
        world.answers = answers::look(options, desired, &world, &observed.routes);
        let speeding = |interface: u32| match observed.fast.get(&interface) {
            Some(Hung::Program(id)) => Some(*id),
            Some(Hung::Nothing) | None => Some(0),
        };
        let wanted = lower(desired, options, &world, true, |place, _| running(place), speeding);
        let changes = native::diff(&observed, &wanted);
        Ok(changes.iter().map(|change| line(change, &world)).collect())
    }
}

/// What is there, whoever put it there.
fn observe(options: &Options) -> Result<PacketState, DataplaneError> {
    let pins = pins(&options.bpffs);
    let routes = ROUTES.observe().map_err(DataplaneError::failed("list", "routes"))?;
    if !pins.base().exists() {
        return Ok(PacketState { routes, ..PacketState::default() });
    }
    let tables = Tables::new(PacketMaps::open(&pins)?);
    let ways: BTreeMap<_, Way> = tables
        .records_by_pair()?
        .into_iter()
        .filter_map(|(pair, index)| Some((pair, tables.look().told().way(index)?)))
        .collect();
    Ok(PacketState {
        hooks: Hooks::peek(&pins.links(), &made(&options.bpffs), Owner::Packet)?,
        fast: fast(&options.bpffs).observe()?,
        wires: wires(&pins)?,
        rules: tables.look().told().rules(),
        ways,
        routes,
        services: tables.observe()?,
    })
}

/// An agent that knew nothing of XDP has left no map for it.
fn wires(pins: &Pins) -> Result<BTreeMap<u32, Wire>, DataplaneError> {
    if pins.map("WIRES").exists() { WireMaps::open(pins)?.wires() } else { Ok(BTreeMap::new()) }
}

/// People know interfaces by their names.
fn line(change: &native::Change, world: &World) -> String {
    let hook = match change {
        native::Change::Hook(hook) => hook,
        native::Change::Fast(fast) => {
            let verb = match fast {
                xdp::Change::Attach(_) => "run an XDP program",
                xdp::Change::Update(_) => "run another XDP program",
                xdp::Change::Detach(_) => "run no XDP program any more",
            };
            return format!("{verb} on {}", world.name(fast.interface()));
        }
        native::Change::SetWire(wire, Some(what)) => {
            return format!("tell XDP: {} {what}", world.name(*wire));
        }
        native::Change::SetWire(wire, None) => return format!("tell XDP: {} is no wire", world.name(*wire)),
        _ => return change.to_string(),
    };
    let (tc::Change::Attach(place) | tc::Change::Update(place) | tc::Change::Detach(place)) = hook;
    let verb = match hook {
        tc::Change::Attach(_) => "run a program",
        tc::Change::Update(_) => "run another program",
        tc::Change::Detach(_) => "run no program any more",
    };
    format!("{verb} on {}, {}", world.name(place.interface), place.direction)
}
