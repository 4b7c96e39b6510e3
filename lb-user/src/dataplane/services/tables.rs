//! The order in which the maps are written. What may be reused when is decided here, for the kernel's maps and for
//! the tests' alike.
//!
//! Invariants, each a test below:
//! - a set in force is never written;
//! - a set, slot or record that a program may still be reading is not written before a grace period has passed;
//! - a VIP is inserted after everything behind it, and removed before anything behind it;
//! - a record keeps its place while connections are counted in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lb_common::{
    Endpoint,
    socket::{Backend, MAX_BACKENDS, MAX_SERVICES, PROOF_SLOT, Service, Set},
};
use lb_core::model::ServiceName;

use super::{
    encode,
    native::{Choice, ServiceChange, Services, Serving, TableService},
};
use crate::dataplane::{Counters, DataplaneError};

/// The maps of `lb_common::socket`, one operation each.
pub trait Maps {
    /// Every VIP with its slot.
    fn vips(&self) -> Result<Vec<(Endpoint, u32)>, DataplaneError>;
    /// Makes a VIP known.
    fn insert_vip(&mut self, vip: Endpoint, slot: u32) -> Result<(), DataplaneError>;
    /// Makes a VIP unknown.
    fn remove_vip(&mut self, vip: Endpoint) -> Result<(), DataplaneError>;
    /// A service's record.
    fn service(&self, slot: u32) -> Service;
    /// Writes a service's record, `active` excepted.
    fn write_service(&mut self, slot: u32, service: &Service);
    /// Puts one of a service's two sets in force, with one store.
    fn flip(&mut self, slot: u32, active: u64);
    /// A set.
    fn set(&self, index: u32) -> Set;
    /// Writes a set.
    fn write_set(&mut self, index: u32, set: &Set);
    /// A backend's record.
    fn backend(&self, index: u32) -> Backend;
    /// Writes a backend's record, counters included.
    fn write_backend(&mut self, index: u32, backend: &Backend);
    /// Marks a backend's record as used or free; the programs go on counting in it.
    fn mark_backend(&mut self, index: u32, used: bool);
    /// Waits until no program runs that began before the call.
    fn wait_for_readers(&mut self) -> Result<(), DataplaneError>;
}

/// The maps, and whether something was retired since the last grace period.
pub struct Tables<M> {
    maps: M,
    readers: Readers,
}

/// Whether a program may still be reading what was retired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Gone,
    Possible,
}

impl<M: Maps> Tables<M> {
    /// Takes maps over. What their last owner retired is not known, so the first reuse waits.
    pub fn new(maps: M) -> Self {
        Self { maps, readers: Readers::Possible }
    }

    /// The maps themselves.
    pub fn maps(&mut self) -> &mut M {
        &mut self.maps
    }

    /// The maps, for reading.
    pub fn look(&self) -> &M {
        &self.maps
    }

    /// What the maps hold. Entries that make no sense are left out, so that a difference mends them.
    pub fn observe(&self) -> Result<Services, DataplaneError> {
        let mut services = Services::new();
        for (vip, slot) in self.maps.vips()? {
            if slot < MAX_SERVICES
                && let Some(service) = self.observe_service(slot)
            {
                services.insert(encode::socket_addr(&vip), service);
            }
        }
        Ok(services)
    }

    fn observe_service(&self, slot: u32) -> Option<TableService> {
        let service = self.maps.service(slot);
        let set = self.maps.set(set_index(slot, service.active));
        let weights = encode::members(&set)
            .map(|(index, weight)| Some((encode::socket_addr(&self.backend(index)?.endpoint), weight)))
            .collect::<Option<_>>()?;
        let reserve = encode::reserve(&set)
            .map(|index| Some(encode::socket_addr(&self.backend(index)?.endpoint)))
            .collect::<Option<_>>()?;
        let policy = match set.policy {
            lb_common::socket::POLICY_ROUND_ROBIN => Choice::RoundRobin,
            lb_common::socket::POLICY_LEAST_CONN => Choice::LeastConn,
            _ => Choice::Random,
        };
        let members = self.records(slot).map(|(_, b)| encode::socket_addr(&b.endpoint)).collect();
        Some(TableService {
            name: encode::parse_name(&service.name)?,
            serving: Serving { policy, weights, reserve },
            members,
        })
    }

    /// The index of each backend's record, by VIP and backend.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn records_by_pair(&self) -> Result<BTreeMap<(SocketAddr, SocketAddr), u32>, DataplaneError> {
        let vips = self.maps.vips()?.into_iter().filter(|(_, slot)| *slot < MAX_SERVICES);
        let records = vips.flat_map(|(vip, slot)| {
            let vip = encode::socket_addr(&vip);
            self.index(slot).into_iter().map(move |(member, index)| ((vip, member), index))
        });
        Ok(records.collect())
    }

    fn backend(&self, index: u32) -> Option<Backend> {
        (index < MAX_BACKENDS).then(|| self.maps.backend(index))
    }

    /// The used records of a slot.
    fn records(&self, slot: u32) -> impl Iterator<Item = (u32, Backend)> {
        (0..MAX_BACKENDS)
            .map(|index| (index, self.maps.backend(index)))
            .filter(move |(_, b)| b.used == 1 && b.slot == slot)
    }

    /// What was counted, by VIP and backend.
    pub fn counters(&self) -> Result<BTreeMap<(SocketAddr, SocketAddr), Counters>, DataplaneError> {
        let vips: BTreeMap<u32, SocketAddr> =
            self.maps.vips()?.iter().map(|(vip, slot)| (*slot, encode::socket_addr(vip))).collect();
        let used = (0..MAX_BACKENDS).map(|index| self.maps.backend(index)).filter(|b| b.used == 1);
        let counted = used.filter_map(|b| {
            let counters = Counters { active: b.active, total: b.total, refused: b.refused };
            Some(((*vips.get(&b.slot)?, encode::socket_addr(&b.endpoint)), counters))
        });
        Ok(counted.collect())
    }

    /// Makes one mutation.
    pub fn apply(&mut self, change: &ServiceChange) -> Result<(), DataplaneError> {
        match change {
            ServiceChange::Add(vip, service) => self.add_service(*vip, service),
            ServiceChange::Rename(vip, name) => self.rename(*vip, name),
            ServiceChange::AddMember(vip, member) => self.add_member(*vip, *member),
            ServiceChange::SetServing(vip, serving) => self.set_serving(*vip, serving),
            ServiceChange::RemoveMember(vip, member) => self.remove_member(*vip, *member),
            ServiceChange::Remove(vip) => self.remove_service(*vip),
        }
    }

    /// Makes a service: records, set, slot, and last its VIP.
    pub fn add_service(&mut self, vip: SocketAddr, service: &TableService) -> Result<(), DataplaneError> {
        let slot = self.free_slot()?;
        self.settle()?;
        // Records that outlived an earlier service in this slot belong to nobody any more.
        for (index, _) in self.records(slot).collect::<Vec<_>>() {
            self.maps.mark_backend(index, false);
        }
        let record =
            Service { vip: encode::endpoint(vip), active: 0, turn: 0, name: encode::name(&service.name) };
        self.maps.write_service(slot, &record);
        for member in &service.members {
            self.add_record(slot, *member)?;
        }
        let set = encode::set(&service.serving, &self.index(slot));
        self.maps.write_set(set_index(slot, 0), &set);
        self.maps.flip(slot, 0);
        self.maps.insert_vip(encode::endpoint(vip), slot)
    }

    /// Takes a service away: its VIP first.
    pub fn remove_service(&mut self, vip: SocketAddr) -> Result<(), DataplaneError> {
        let slot = self.slot(vip)?;
        self.maps.remove_vip(encode::endpoint(vip))?;
        self.readers = Readers::Possible;
        for (index, _) in self.records(slot).collect::<Vec<_>>() {
            self.maps.mark_backend(index, false);
        }
        Ok(())
    }

    /// Gives a service another name; the programs do not read it.
    pub fn rename(&mut self, vip: SocketAddr, name: &ServiceName) -> Result<(), DataplaneError> {
        let slot = self.slot(vip)?;
        let mut service = self.maps.service(slot);
        service.name = encode::name(name);
        self.maps.write_service(slot, &service);
        Ok(())
    }

    /// Makes a record for a backend.
    pub fn add_member(&mut self, vip: SocketAddr, member: SocketAddr) -> Result<(), DataplaneError> {
        let slot = self.slot(vip)?;
        self.add_record(slot, member)
    }

    /// Frees a backend's record.
    pub fn remove_member(&mut self, vip: SocketAddr, member: SocketAddr) -> Result<(), DataplaneError> {
        let slot = self.slot(vip)?;
        if let Some(index) = self.index(slot).get(&member) {
            self.maps.mark_backend(*index, false);
            self.readers = Readers::Possible;
        }
        Ok(())
    }

    /// Replaces the serving set: the set that is not in force is written, then put in force.
    pub fn set_serving(&mut self, vip: SocketAddr, serving: &Serving) -> Result<(), DataplaneError> {
        let slot = self.slot(vip)?;
        self.settle()?;
        let next = 1 - (self.maps.service(slot).active & 1);
        self.maps.write_set(set_index(slot, next), &encode::set(serving, &self.index(slot)));
        self.maps.flip(slot, next);
        self.readers = Readers::Possible;
        Ok(())
    }

    /// Waits for programs that may still be reading what was retired. Called before a reuse, and by the reconciler
    /// when it has time, so that an eviction need not wait.
    pub fn settle(&mut self) -> Result<(), DataplaneError> {
        if self.readers == Readers::Possible {
            self.maps.wait_for_readers()?;
            self.readers = Readers::Gone;
        }
        Ok(())
    }

    fn index(&self, slot: u32) -> BTreeMap<SocketAddr, u32> {
        self.records(slot).map(|(index, b)| (encode::socket_addr(&b.endpoint), index)).collect()
    }

    fn slot(&self, vip: SocketAddr) -> Result<u32, DataplaneError> {
        let wanted = encode::endpoint(vip);
        let found =
            self.maps.vips()?.into_iter().find(|(known, slot)| *known == wanted && *slot != PROOF_SLOT);
        found.map(|(_, slot)| slot).ok_or_else(|| {
            DataplaneError::failed("find the service of", vip.to_string())("somebody removed it meanwhile")
        })
    }

    fn free_slot(&self) -> Result<u32, DataplaneError> {
        let taken: BTreeSet<u32> = self.maps.vips()?.into_iter().map(|(_, slot)| slot).collect();
        (0..MAX_SERVICES).find(|slot| !taken.contains(slot)).ok_or_else(|| DataplaneError::Full {
            what: "another service".to_owned(),
            limit: MAX_SERVICES as usize,
        })
    }

    /// Prefers the record that this backend had before: its connections are still counted in it.
    fn add_record(&mut self, slot: u32, member: SocketAddr) -> Result<(), DataplaneError> {
        let endpoint = encode::endpoint(member);
        let all = || (0..MAX_BACKENDS).map(|index| (index, self.maps.backend(index)));
        if let Some((index, _)) =
            all().find(|(_, b)| b.used == 0 && b.slot == slot && b.endpoint == endpoint && b.active > 0)
        {
            self.maps.mark_backend(index, true);
            return Ok(());
        }
        let Some((index, _)) = all().find(|(_, b)| b.used == 0 && b.active == 0) else {
            let what = format!("backend {member}");
            return Err(DataplaneError::Full { what, limit: MAX_BACKENDS as usize });
        };
        self.settle()?;
        self.maps.write_backend(index, &Backend { endpoint, slot, used: 1, ..Backend::default() });
        Ok(())
    }
}

fn set_index(slot: u32, active: u64) -> u32 {
    2 * slot + (active & 1) as u32
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
