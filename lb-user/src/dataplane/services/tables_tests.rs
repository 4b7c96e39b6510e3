use std::collections::BTreeSet;

use super::*;

/// Maps in memory that check the order of writes: what was retired must not be written before a grace period.
#[derive(Default)]
struct FakeMaps {
    vips: BTreeMap<SocketAddr, u32>,
    services: BTreeMap<u32, Service>,
    sets: BTreeMap<u32, Set>,
    backends: BTreeMap<u32, Backend>,
    retired_sets: BTreeSet<u32>,
    retired_slots: BTreeSet<u32>,
    retired_records: BTreeSet<u32>,
    waits: usize,
}

const NO_SERVICE: Service = Service {
    vip: Endpoint::from_host([0; 16], 0),
    active: 0,
    turn: 0,
    name: [0; lb_common::socket::NAME_LENGTH + 1],
};

impl FakeMaps {
    fn in_force(&self) -> BTreeSet<u32> {
        self.vips.values().map(|slot| set_index(*slot, self.service(*slot).active)).collect()
    }
}

impl Maps for FakeMaps {
    fn vips(&self) -> Result<Vec<(Endpoint, u32)>, DataplaneError> {
        Ok(self.vips.iter().map(|(vip, slot)| (encode::endpoint(*vip), *slot)).collect())
    }
    fn insert_vip(&mut self, vip: Endpoint, slot: u32) -> Result<(), DataplaneError> {
        assert!(self.services.contains_key(&slot), "the slot is written before its VIP is known");
        assert!(self.sets.contains_key(&set_index(slot, self.service(slot).active)), "and so is its set");
        self.vips.insert(encode::socket_addr(&vip), slot);
        Ok(())
    }
    fn remove_vip(&mut self, vip: Endpoint) -> Result<(), DataplaneError> {
        let slot = self.vips.remove(&encode::socket_addr(&vip)).expect("a VIP that is known");
        self.retired_slots.insert(slot);
        self.retired_sets.insert(set_index(slot, self.service(slot).active));
        Ok(())
    }
    fn service(&self, slot: u32) -> Service {
        self.services.get(&slot).copied().unwrap_or(NO_SERVICE)
    }
    fn write_service(&mut self, slot: u32, service: &Service) {
        assert!(!self.retired_slots.contains(&slot), "slot {slot} may still be read");
        let active = self.service(slot).active;
        self.services.insert(slot, Service { active, ..*service });
    }
    fn flip(&mut self, slot: u32, active: u64) {
        let old = self.service(slot).active;
        if self.vips.values().any(|s| *s == slot) && old != active {
            self.retired_sets.insert(set_index(slot, old));
        }
        self.services.get_mut(&slot).unwrap().active = active;
    }
    fn set(&self, index: u32) -> Set {
        self.sets.get(&index).copied().unwrap_or(encode::EMPTY_SET)
    }
    fn write_set(&mut self, index: u32, set: &Set) {
        assert!(!self.in_force().contains(&index), "set {index} is in force");
        assert!(!self.retired_sets.contains(&index), "set {index} may still be read");
        for (backend, _) in encode::members(set) {
            assert_eq!(self.backend(backend).used, 1, "a set names used records only");
        }
        self.sets.insert(index, *set);
    }
    fn backend(&self, index: u32) -> Backend {
        self.backends.get(&index).copied().unwrap_or_default()
    }
    fn write_backend(&mut self, index: u32, backend: &Backend) {
        assert!(!self.retired_records.contains(&index), "record {index} may still be read");
        assert_eq!(self.backend(index).active, 0, "record {index} still counts connections");
        self.backends.insert(index, *backend);
    }
    fn mark_backend(&mut self, index: u32, used: bool) {
        if !used {
            self.retired_records.insert(index);
        }
        self.backends.get_mut(&index).unwrap().used = u32::from(used);
    }
    fn wait_for_readers(&mut self) -> Result<(), DataplaneError> {
        self.retired_sets.clear();
        self.retired_slots.clear();
        self.retired_records.clear();
        self.waits += 1;
        Ok(())
    }
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, n], 6443))
}

fn serving(backends: &[u8]) -> Serving {
    Serving {
        policy: Choice::Random,
        weights: backends.iter().map(|n| (at(*n), 1)).collect(),
        reserve: [].into(),
    }
}

fn service(backends: &[u8]) -> TableService {
    TableService {
        name: "apiserver".parse().unwrap(),
        serving: serving(backends),
        members: backends.iter().map(|n| at(*n)).collect(),
    }
}

fn tables() -> Tables<FakeMaps> {
    Tables::new(FakeMaps::default())
}

#[test]
fn what_was_written_is_what_is_observed() {
    let mut tables = tables();
    tables.add_service(at(100), &service(&[1, 2, 3])).unwrap();
    tables.add_service(at(101), &service(&[1])).unwrap();
    let expected = BTreeMap::from([(at(100), service(&[1, 2, 3])), (at(101), service(&[1]))]);
    assert_eq!(tables.observe().unwrap(), expected);
}

#[test]
fn many_replacements_never_write_what_may_be_read() {
    let mut tables = tables();
    tables.add_service(at(100), &service(&[1, 2, 3])).unwrap();
    for round in 0..20_u8 {
        let new = round % 7 + 4;
        tables.add_member(at(100), at(new)).unwrap();
        tables.set_serving(at(100), &serving(&[new])).unwrap();
        tables.set_serving(at(100), &serving(&[1, new])).unwrap();
        tables.set_serving(at(100), &serving(&[1])).unwrap();
        tables.remove_member(at(100), at(new)).unwrap();
    }
    assert_eq!(tables.observe().unwrap()[&at(100)].serving, serving(&[1]));
}

#[test]
fn an_eviction_after_a_quiet_time_does_not_wait() {
    let mut tables = tables();
    tables.add_service(at(100), &service(&[1, 2, 3])).unwrap();
    tables.settle().unwrap();
    let before = tables.maps().waits;
    tables.set_serving(at(100), &serving(&[1, 2])).unwrap();
    assert_eq!(tables.maps().waits, before);
}

#[test]
fn services_come_and_go_through_all_slots() {
    let mut tables = tables();
    for round in 0..3 * MAX_SERVICES {
        let vip = SocketAddr::from(([10, 0, (round / 250) as u8, (round % 250) as u8], 1));
        tables.add_service(vip, &service(&[1, 2])).unwrap();
        tables.remove_service(vip).unwrap();
    }
    assert!(tables.observe().unwrap().is_empty());
}

#[test]
fn one_service_too_many_is_refused_by_name() {
    let mut tables = tables();
    for n in 0..MAX_SERVICES as u8 {
        tables.add_service(at(n), &service(&[200])).unwrap();
    }
    let error = tables.add_service(at(99), &service(&[200])).unwrap_err();
    assert!(matches!(error, DataplaneError::Full { limit: 64, .. }), "{error}");
}

#[test]
fn a_record_with_connections_is_kept_for_its_backend() {
    let mut tables = tables();
    tables.add_service(at(100), &service(&[1, 2])).unwrap();
    let index = tables.index(0)[&at(1)];
    tables.maps().backends.get_mut(&index).unwrap().active = 5;
    tables.set_serving(at(100), &serving(&[2])).unwrap();
    tables.remove_member(at(100), at(1)).unwrap();
    tables.add_member(at(100), at(3)).unwrap();
    assert_ne!(tables.index(0)[&at(3)], index, "another backend gets another record");
    tables.add_member(at(100), at(1)).unwrap();
    assert_eq!(tables.counters().unwrap()[&(at(100), at(1))].active, 5);
}

#[test]
fn the_proof_address_is_no_service() {
    let mut tables = tables();
    tables.maps().services.insert(PROOF_SLOT, NO_SERVICE);
    tables.maps().sets.insert(set_index(0, 0), encode::EMPTY_SET);
    tables.maps().vips.insert(at(9), PROOF_SLOT);
    assert!(tables.observe().unwrap().is_empty());
    assert!(tables.slot(at(9)).is_err());
}
