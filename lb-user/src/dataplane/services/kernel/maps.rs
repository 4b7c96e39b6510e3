//! The tables in the kernel, opened and mapped.

use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    Endpoint,
    socket::{Backend, MAX_BACKENDS, MAX_SERVICES, Service, Set},
};

use super::{
    memory::Shared,
    pins::{Pins, Shape, array, open_map},
};
use crate::{
    dataplane::{DataplaneError, services::tables::Maps},
    os::bpf::GracePeriod,
};

/// Every pinned map.
pub const SHAPES: [Shape; 4] = [
    Shape { name: "VIPS", key: size_of::<Endpoint>(), value: 4, entries: MAX_SERVICES + 1 },
    array::<Service>("SERVICES", MAX_SERVICES),
    array::<Set>("SETS", 2 * MAX_SERVICES),
    array::<Backend>("BACKENDS", MAX_BACKENDS),
];

/// The tables.
pub struct ServiceMaps {
    vips: HashMap<MapData, Endpoint, u32>,
    services: Shared<Service>,
    sets: Shared<Set>,
    backends: Shared<Backend>,
    grace: GracePeriod,
}

impl ServiceMaps {
    /// Opens the pinned maps, after a check of their shapes.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let [vips, services, sets, backends] = SHAPES.each_ref().map(|s| open_map(pins, s));
        let vips = Map::from_map_data(vips?).map_err(DataplaneError::failed("open", "map VIPS"))?;
        let memory = |name: &'static str| DataplaneError::failed("map into memory", name);
        Ok(Self {
            vips: HashMap::try_from(vips).map_err(DataplaneError::failed("open", "map VIPS"))?,
            services: Shared::map(services?.fd(), MAX_SERVICES).map_err(memory("SERVICES"))?,
            sets: Shared::map(sets?.fd(), 2 * MAX_SERVICES).map_err(memory("SETS"))?,
            backends: Shared::map(backends?.fd(), MAX_BACKENDS).map_err(memory("BACKENDS"))?,
            grace: GracePeriod::new().map_err(DataplaneError::failed("make", "a map of maps"))?,
        })
    }

    /// Puts right how many connections of a record are open.
    pub fn set_active(&mut self, index: u32, active: u64) {
        self.backends.set_active(index, active);
    }
}

impl Maps for ServiceMaps {
    fn vips(&self) -> Result<Vec<(Endpoint, u32)>, DataplaneError> {
        self.vips.iter().collect::<Result<_, _>>().map_err(DataplaneError::failed("read", "map VIPS"))
    }

    fn insert_vip(&mut self, vip: Endpoint, slot: u32) -> Result<(), DataplaneError> {
        self.vips.insert(vip, slot, 0).map_err(DataplaneError::failed("write", "map VIPS"))
    }

    fn remove_vip(&mut self, vip: Endpoint) -> Result<(), DataplaneError> {
        self.vips.remove(&vip).map_err(DataplaneError::failed("write", "map VIPS"))
    }

    fn service(&self, slot: u32) -> Service {
        self.services.read(slot)
    }

    fn write_service(&mut self, slot: u32, service: &Service) {
        self.services.write_identity(slot, service);
    }

    fn flip(&mut self, slot: u32, active: u64) {
        self.services.flip(slot, active);
    }

    fn set(&self, index: u32) -> Set {
        self.sets.read(index)
    }

    fn write_set(&mut self, index: u32, set: &Set) {
        self.sets.write(index, set);
    }

    fn backend(&self, index: u32) -> Backend {
        self.backends.read(index)
    }

    fn write_backend(&mut self, index: u32, backend: &Backend) {
        self.backends.write(index, backend);
    }

    fn mark_backend(&mut self, index: u32, used: bool) {
        self.backends.mark(index, used);
    }

    fn wait_for_readers(&mut self) -> Result<(), DataplaneError> {
        self.grace.wait().map_err(DataplaneError::failed("wait for", "running programs"))
    }
}
