//! The maps in the kernel.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    Endpoint,
    socket::{Backend, MAX_BACKENDS, MAX_SERVICES, Service, Set, Settings},
};

use super::{
    load::{Pins, SHAPES, open_map},
    memory::Shared,
};
use crate::{
    dataplane::{DataplaneError, socket::tables::Maps},
    os::bpf::GracePeriod,
};

/// The maps in the kernel, opened and mapped.
pub struct KernelMaps {
    pub(super) vips: HashMap<MapData, Endpoint, u32>,
    pub(super) services: Shared<Service>,
    pub(super) sets: Shared<Set>,
    pub(super) backends: Shared<Backend>,
    pub(super) settings: Shared<Settings>,
    pub(super) tracks: MapData,
    pub(super) grace: GracePeriod,
}

impl KernelMaps {
    /// Opens the pinned maps, after a check of their shapes.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let [vips, services, sets, backends, settings, tracks] = SHAPES.each_ref().map(|s| open_map(pins, s));
        let vips = Map::from_map_data(vips?).map_err(DataplaneError::failed("open", "map VIPS"))?;
        let memory = |name: &'static str| DataplaneError::failed("map into memory", name);
        Ok(Self {
            vips: HashMap::try_from(vips).map_err(DataplaneError::failed("open", "map VIPS"))?,
            services: Shared::map(services?.fd(), MAX_SERVICES).map_err(memory("SERVICES"))?,
            sets: Shared::map(sets?.fd(), 2 * MAX_SERVICES).map_err(memory("SETS"))?,
            backends: Shared::map(backends?.fd(), MAX_BACKENDS).map_err(memory("BACKENDS"))?,
            settings: Shared::map(settings?.fd(), 1).map_err(memory("SETTINGS"))?,
            tracks: tracks?,
            grace: GracePeriod::new().map_err(DataplaneError::failed("make", "a map of maps"))?,
        })
    }

    /// The descriptor of the map that remembers what a socket was connected to, for NETLINK_SOCK_DIAG.
    pub fn tracks_fd(&self) -> i32 {
        self.tracks.fd().as_fd().as_raw_fd()
    }

    /// What the programs were told, and what they report.
    pub fn settings(&self) -> Settings {
        self.settings.read(0)
    }

    /// Says whose sockets are served: those of the network namespace with this cookie; 0: all.
    pub fn set_netns_cookie(&mut self, cookie: u64) {
        self.settings.set_netns_cookie(cookie);
    }
}

impl Maps for KernelMaps {
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
