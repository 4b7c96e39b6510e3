//! Whose an IPVS service is. IPVS has no place for a mark, so the mark is elsewhere: in our nftables set, and on our
//! routes. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::native::Service;

/// What may be done with a service that the kernel holds at one of our VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// We made it.
    Ours,
    /// It does nothing but what we are to do, as one that lvscare left: it is taken over.
    Nobody,
    /// It belongs to another program and is left alone.
    Other,
}

/// Decides about the service at a VIP of ours. `members` are the backends that the VIP should have.
pub fn owner(
    vip: SocketAddr,
    service: &Service,
    claimed: &BTreeSet<SocketAddr>,
    members: &BTreeSet<SocketAddr>,
) -> Owner {
    if claimed.contains(&vip) {
        Owner::Ours
    } else if service.destinations.keys().all(|address| members.contains(address)) {
        Owner::Nobody
    } else {
        Owner::Other
    }
}

/// The VIPs that are ours: those in our nftables set; and where our route leads to an address that no entry of the set
/// is about, as after `nft flush ruleset`, the services at that address.
pub fn claimed<'a>(
    marked: &'a BTreeSet<SocketAddr>,
    routes: &BTreeMap<IpAddr, Option<IpAddr>>,
    services: impl IntoIterator<Item = &'a SocketAddr>,
) -> BTreeSet<SocketAddr> {
    let unmarked = unmarked(marked, routes);
    let found = services.into_iter().filter(|vip| unmarked.contains(&vip.ip()));
    found.chain(marked).copied().collect()
}

/// The addresses that our routes lead to and no entry of our set is about.
pub fn unmarked(
    marked: &BTreeSet<SocketAddr>,
    routes: &BTreeMap<IpAddr, Option<IpAddr>>,
) -> BTreeSet<IpAddr> {
    routes.keys().filter(|ip| !marked.iter().any(|vip| vip.ip() == **ip)).copied().collect()
}

#[cfg(test)]
mod tests {
    use lb_core::model::Policy;

    use super::*;
    use crate::dataplane::ipvs::{native::Destination, scheduler::Scheduling};

    fn at(n: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 168, 0, n], port))
    }

    fn service(destinations: &[SocketAddr]) -> Service {
        let destinations = destinations.iter().map(|a| (*a, Destination::serving(1))).collect();
        Service { scheduling: Scheduling::of(Policy::Random), destinations }
    }

    fn judge(destinations: &[SocketAddr], claimed: &[SocketAddr]) -> Owner {
        let members = [at(1, 6443), at(2, 6443)].into();
        owner(at(100, 6443), &service(destinations), &claimed.iter().copied().collect(), &members)
    }

    #[test]
    fn a_service_whose_vip_is_marked_is_ours_whatever_it_leads_to() {
        assert_eq!(judge(&[at(9, 80)], &[at(100, 6443)]), Owner::Ours);
    }

    #[test]
    fn an_unmarked_service_that_leads_to_our_backends_or_nowhere_is_taken_over() {
        assert_eq!(judge(&[at(1, 6443)], &[]), Owner::Nobody);
        assert_eq!(judge(&[], &[]), Owner::Nobody);
    }

    #[test]
    fn an_unmarked_service_that_leads_elsewhere_is_somebody_elses() {
        assert_eq!(judge(&[at(1, 6443), at(9, 6443)], &[]), Owner::Other);
        assert_eq!(judge(&[at(1, 80)], &[at(100, 80)]), Owner::Other, "another port is another service");
    }

    #[test]
    fn a_route_claims_services_only_where_the_set_says_nothing_of_its_address() {
        let routes = BTreeMap::from([(at(100, 0).ip(), None), (at(101, 0).ip(), None)]);
        let marked = BTreeSet::from([at(100, 6443)]);
        let services = [at(100, 6443), at(100, 80), at(101, 6443), at(102, 6443)];
        assert_eq!(
            claimed(&marked, &routes, &services),
            BTreeSet::from([at(100, 6443), at(101, 6443)]),
            "at 100 port 80 is somebody else's"
        );
    }
}
