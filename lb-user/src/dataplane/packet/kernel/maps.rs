//! The maps that only this dataplane has, beside the tables of services.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    Endpoint,
    socket::{Backend, Service, Set},
};

use super::{load::SHAPES, told::ToldMaps};
use crate::dataplane::{
    DataplaneError,
    packet::world::Way,
    services::{Maps, Pins, encode, kernel::ServiceMaps},
};

/// The tables of services, where a record for a backend comes with the way to it.
pub struct PacketMaps {
    tables: ServiceMaps,
    told: ToldMaps,
    /// For records that are made from now on.
    known: BTreeMap<IpAddr, Way>,
}

impl PacketMaps {
    /// Opens the pinned maps, after a check of their shapes.
    ///
    /// # Errors
    /// When one is missing, or is somebody else's.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let told = ToldMaps::open(pins, [&SHAPES[0], &SHAPES[1], &SHAPES[2]])?;
        Ok(Self { tables: ServiceMaps::open(pins)?, told, known: BTreeMap::new() })
    }

    /// Notes the ways that new records are given.
    pub fn know(&mut self, ways: BTreeMap<IpAddr, Way>) {
        self.known = ways;
    }

    /// What the programs are told, for reading.
    pub fn told(&self) -> &ToldMaps {
        &self.told
    }

    /// What the programs are told.
    pub fn tell(&mut self) -> &mut ToldMaps {
        &mut self.told
    }

    /// Puts right how many connections of a record are open.
    pub fn set_active(&mut self, index: u32, active: u64) {
        self.tables.set_active(index, active);
    }
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
        self.told.set_way(index, self.known.get(&ip).copied());
        self.tables.write_backend(index, backend);
    }

    fn mark_backend(&mut self, index: u32, used: bool) {
        self.tables.mark_backend(index, used);
    }

    fn wait_for_readers(&mut self) -> Result<(), DataplaneError> {
        self.tables.wait_for_readers()
    }
}
