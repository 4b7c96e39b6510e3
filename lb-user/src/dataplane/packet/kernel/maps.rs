//! The maps that only this dataplane has, beside the tables of services.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    Address, Endpoint,
    packet::{MAX_WAYS, Rules as RulesBytes, TALLIES, Way as WayBytes},
    socket::{Backend, Service, Set},
};

use super::load::SHAPES;
use crate::dataplane::{
    DataplaneError,
    packet::world::{Rules, Way},
    services::{
        Maps, Pins, encode,
        kernel::{ServiceMaps, Shared},
        open_map,
    },
};

/// The tables of services, where a record for a backend comes with the way to it.
pub struct PacketMaps {
    tables: ServiceMaps,
    ways: Shared<WayBytes>,
    rules: Shared<RulesBytes>,
    tally: Shared<u64>,
    /// For records that are made from now on.
    known: BTreeMap<IpAddr, Way>,
}

impl PacketMaps {
    /// Opens the pinned maps, after a check of their shapes.
    ///
    /// # Errors
    /// When one is missing, or is somebody else's.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let [ways, rules, tally, ..] = SHAPES.each_ref().map(|shape| open_map(pins, shape));
        let memory = |name: &'static str| DataplaneError::failed("map into memory", name);
        Ok(Self {
            tables: ServiceMaps::open(pins)?,
            ways: Shared::map(ways?.fd(), MAX_WAYS).map_err(memory("WAYS"))?,
            rules: Shared::map(rules?.fd(), 1).map_err(memory("RULES"))?,
            tally: Shared::map(tally?.fd(), TALLIES).map_err(memory("TALLY"))?,
            known: BTreeMap::new(),
        })
    }

    /// Notes the ways that new records are given.
    pub fn know(&mut self, ways: BTreeMap<IpAddr, Way>) {
        self.known = ways;
    }

    /// The way in a record.
    pub fn way(&self, index: u32) -> Option<Way> {
        let way = self.ways.read(index);
        let source = encode::socket_addr(&Endpoint::new(way.source, 0)).ip();
        (way.ifindex != 0).then_some(Way { source, interface: way.ifindex, local: way.local != 0 })
    }

    /// Writes the way into a record. The interface goes first and comes last: without one the record is not used.
    pub fn set_way(&mut self, index: u32, way: Option<Way>) {
        let Some(Way { source, interface, local }) = way else {
            self.ways.write(index, &WayBytes::default());
            return;
        };
        let bytes = WayBytes { source: address(source), ifindex: 0, local: u32::from(local) };
        self.ways.write(index, &bytes);
        self.ways.write(index, &WayBytes { ifindex: interface, ..bytes });
    }

    /// What the programs are told.
    pub fn rules(&self) -> Rules {
        let rules = self.rules.read(0);
        Rules {
            first_port: rules.first_port,
            ports: rules.ports,
            takes: rules.takes != 0,
            forwards: rules.forwards != 0,
            masquerades: rules.masquerades != 0,
            rescues: rules.rescues != 0,
        }
    }

    /// Tells the programs something else.
    pub fn set_rules(&mut self, rules: &Rules) {
        let bytes = RulesBytes {
            first_port: rules.first_port,
            ports: rules.ports,
            takes: u32::from(rules.takes),
            forwards: u32::from(rules.forwards),
            masquerades: u32::from(rules.masquerades),
            rescues: u32::from(rules.rescues),
        };
        self.rules.write(0, &bytes);
    }

    /// What was counted under a `DROP_` or `TALLY_` constant.
    pub fn tally(&self, what: u32) -> u64 {
        self.tally.read(what)
    }

    /// Adds to what was counted.
    pub fn add_to_tally(&mut self, what: u32, n: u64) {
        self.tally.add(what, n);
    }

    /// Puts right how many connections of a record are open.
    pub fn set_active(&mut self, index: u32, active: u64) {
        self.tables.set_active(index, active);
    }
}

/// An address as the programs have it: IPv4 in its v4-mapped form.
pub fn address(ip: IpAddr) -> Address {
    encode::endpoint((ip, 0).into()).address()
}

impl Maps for PacketMaps {
    fn vips(&self) -> Result<Vec<(Endpoint, u32)>, DataplaneError> {
        self.tables.vips()
    }

    fn insert_vip(&mut self, vip: Endpoint, slot: u32) -> Result<(), DataplaneError> {
        self.tables.insert_vip(vip, slot)
    }

    fn remove_vip(&mut self, vip: Endpoint) -> Result<(), DataplaneError> {
        self.tables.remove_vip(vip)
    }

    fn service(&self, slot: u32) -> Service {
        self.tables.service(slot)
    }

    fn write_service(&mut self, slot: u32, service: &Service) {
        self.tables.write_service(slot, service);
    }

    fn flip(&mut self, slot: u32, active: u64) {
        self.tables.flip(slot, active);
    }

    fn set(&self, index: u32) -> Set {
        self.tables.set(index)
    }

    fn write_set(&mut self, index: u32, set: &Set) {
        self.tables.write_set(index, set);
    }

    fn backend(&self, index: u32) -> Backend {
        self.tables.backend(index)
    }

    fn write_backend(&mut self, index: u32, backend: &Backend) {
        let ip = encode::socket_addr(&backend.endpoint).ip();
        self.set_way(index, self.known.get(&ip).copied());
        self.tables.write_backend(index, backend);
    }

    fn mark_backend(&mut self, index: u32, used: bool) {
        self.tables.mark_backend(index, used);
    }

    fn wait_for_readers(&mut self) -> Result<(), DataplaneError> {
        self.tables.wait_for_readers()
    }
}
