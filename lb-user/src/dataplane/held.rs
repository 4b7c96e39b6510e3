//! What the kernel holds, whichever dataplane put it there, read without changing anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use lb_core::{
    control::{Adopted, Pair},
    model::{DataplaneKind, Dataplanes, Policy, ServiceName},
};

use super::{
    Counters, DataplaneError,
    ipvs::IpvsDataplane,
    packet::PacketDataplane,
    socket::{self, RescuedMaps, SocketDataplane},
};
use crate::{os::capability, probe::Mistaken};

/// One service that the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldService {
    /// Its name; `None` where the dataplane has no place for it.
    pub name: Option<ServiceName>,
    /// How a backend is chosen.
    pub policy: Policy,
    /// The backends that take new connections, with their weights.
    pub weights: BTreeMap<SocketAddr, u32>,
    /// Every backend that is known.
    pub members: BTreeSet<SocketAddr>,
}

/// What the kernel holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Each service under its VIP, with the dataplanes that take its new connections.
    pub services: BTreeMap<SocketAddr, (Dataplanes, HeldService)>,
    /// What was counted, by all dataplanes together: while a node moves from one to the other both have connections.
    pub counters: BTreeMap<Pair, Counters>,
}

impl Held {
    /// For the controller's start.
    pub fn adopted(&self) -> Adopted {
        let pairs = |(vip, (_, service)): (&SocketAddr, &(Dataplanes, HeldService))| {
            service.weights.keys().map(|address| (*vip, *address)).collect::<Vec<_>>()
        };
        Adopted {
            serving: self.services.iter().flat_map(pairs).collect(),
            active: self.counters.iter().map(|(pair, counted)| (*pair, counted.active)).collect(),
        }
    }

    /// Notes who takes new connections, instead of who does so behind it. With packets it shares the work where it takes those
    /// connections that packets would not see.
    fn take(&mut self, kind: DataplaneKind, services: impl IntoIterator<Item = (SocketAddr, HeldService)>) {
        for (vip, service) in services {
            let shared = match self.services.get(&vip) {
                Some((behind, _)) if kind == DataplaneKind::Socket && behind.has(DataplaneKind::Packet) => {
                    Dataplanes::SocketAndPacket
                }
                Some(_) | None => kind.into(),
            };
            self.services.insert(vip, (shared, service));
        }
    }

    fn count(&mut self, counters: BTreeMap<Pair, Counters>) {
        for (pair, counted) in counters {
            *self.counters.entry(pair).or_default() += counted;
        }
    }
}

/// What the kernel holds of us; `None`: nothing.
pub fn peek(bpffs: &Path, state_dir: &Path) -> Result<Option<Held>, DataplaneError> {
    let mut held = None;
    let socket = SocketDataplane::peek(bpffs, None)?;
    let socket_takes = socket.as_ref().is_some_and(|state| state.scope.is_some());
    if let Some(services) = IpvsDataplane::peek(state_dir)? {
        let held = held.get_or_insert_with(Held::default);
        held.take(DataplaneKind::Ipvs, services);
        held.count(IpvsDataplane::peek_counters()?);
    }
    if let Some(packet) = PacketDataplane::peek(bpffs)? {
        let held = held.get_or_insert_with(Held::default);
        // Packets meet its programs before IPVS, unless it was told to leave them alone.
        if packet.takes || (held.services.is_empty() && !socket_takes) {
            held.take(DataplaneKind::Packet, packet.services);
        }
        held.count(packet.counters);
    }
    if let Some(state) = socket {
        let held = held.get_or_insert_with(Held::default);
        // Connects meet its hooks before any packet exists, unless it was told to leave them alone.
        if socket_takes || held.services.is_empty() {
            held.take(DataplaneKind::Socket, state.services.into_iter().map(|(vip, s)| (vip, s.into())));
        }
        held.count(SocketDataplane::peek_counters(bpffs)?);
    }
    Ok(held)
}

/// Tells which sockets were sent on to another backend than the one that they seem to talk to.
pub fn sent_on(bpffs: &Path) -> Mistaken {
    let pins = socket::pins(bpffs);
    Mistaken::by(move |backend| match RescuedMaps::are_pinned(&pins) {
        true => RescuedMaps::not_of(&pins, backend),
        false => BTreeSet::new(),
    })
}

/// What the kernel counted.
pub fn counters(bpffs: &Path, state_dir: &Path) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
    Ok(peek(bpffs, state_dir)?.unwrap_or_default().counters)
}

/// Removes everything that any version of the agent ever put into the kernel. Says what was removed.
pub fn cleanup(bpffs: &Path, state_dir: &Path) -> Result<Vec<String>, DataplaneError> {
    let mut removed = Vec::new();
    if bpffs.exists() {
        capability::require("detach programs")?;
        removed.extend(PacketDataplane::cleanup(bpffs)?);
        removed.extend(SocketDataplane::cleanup(bpffs)?);
    }
    removed.extend(IpvsDataplane::cleanup(state_dir)?);
    Ok(removed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn service(member: &str) -> HeldService {
        let members = BTreeSet::from([member.parse().unwrap()]);
        HeldService { name: None, policy: Policy::Random, weights: BTreeMap::new(), members }
    }

    #[test]
    fn a_vip_that_sockets_and_packets_serve_is_of_both_and_else_of_who_is_in_front() {
        let vip: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let taken = |kinds: &[DataplaneKind]| {
            let mut held = Held::default();
            for kind in kinds {
                held.take(*kind, [(vip, service("10.0.0.2:1"))]);
            }
            held.services.get(&vip).map(|(dataplanes, _)| *dataplanes)
        };
        use DataplaneKind::{Ipvs, Packet, Socket};
        assert_eq!(taken(&[Packet, Socket]), Some(Dataplanes::SocketAndPacket));
        assert_eq!(taken(&[Ipvs, Packet, Socket]), Some(Dataplanes::SocketAndPacket));
        assert_eq!(taken(&[Ipvs, Socket]), Some(Socket.into()));
        assert_eq!(taken(&[Ipvs, Packet]), Some(Packet.into()));
        assert_eq!(taken(&[Ipvs]), Some(Ipvs.into()));
    }
}
