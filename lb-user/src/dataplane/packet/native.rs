//! The packet dataplane's state as data, and the way from one state to another. Pure.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use lb_core::control::Pair;

use super::world::{Rules, Way};
use crate::{
    dataplane::{
        services::{self, ServiceChange, Services},
        tc::{self, Hung, Place},
    },
    os::netlink::vip_routes::VipRoute,
};

/// What the kernel holds, or should hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PacketState {
    /// What runs on which interface.
    pub hooks: BTreeMap<Place, Hung>,
    /// What the programs are told.
    pub rules: Rules,
    /// How each backend is reached; those that cannot be are left out.
    pub ways: BTreeMap<Pair, Way>,
    /// The routes that bring the node's own packets for a VIP to the loopback interface.
    pub routes: BTreeMap<IpAddr, VipRoute>,
    /// Each service under its VIP.
    pub services: Services,
}

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Let a program run on an interface, or no longer.
    Hook(tc::Change),
    /// Tell the programs something else.
    SetRules(Rules),
    /// Say how a backend is reached; `None`: not at all.
    SetWay(Pair, Option<Way>),
    /// Change the tables.
    Service(ServiceChange),
    /// Make the route to a VIP, or another one of it.
    SetRoute(IpAddr, VipRoute),
    /// Remove the route to a VIP.
    RemoveRoute(IpAddr),
}

impl Change {
    /// The VIP that it is about.
    pub fn vip(&self) -> Option<SocketAddr> {
        match self {
            Self::Service(change) => Some(change.vip()),
            Self::SetWay((vip, _), _) => Some(*vip),
            Self::Hook(_) | Self::SetRules(_) | Self::SetRoute(..) | Self::RemoveRoute(_) => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(tc::Change::Attach(place)) => write!(f, "run a program on {place}"),
            Self::Hook(tc::Change::Update(place)) => write!(f, "run another program on {place}"),
            Self::Hook(tc::Change::Detach(place)) => write!(f, "run no program on {place} any more"),
            Self::SetRules(rules) => write!(f, "tell the programs: {rules}"),
            Self::SetWay((vip, backend), Some(way)) => write!(f, "reach {backend} of {vip} {way}"),
            Self::SetWay((vip, backend), None) => write!(f, "do not reach {backend} of {vip}"),
            Self::Service(change) => change.fmt(f),
            Self::SetRoute(vip, _) => write!(f, "route {vip} to the loopback interface"),
            Self::RemoveRoute(vip) => write!(f, "remove the route of {vip}"),
        }
    }
}

/// The mutations from `observed` to `wanted`, in order: what packets need on their way, then the services, then the routes
/// that bring packets, and last what is not needed any more.
pub fn diff(observed: &PacketState, wanted: &PacketState) -> Vec<Change> {
    let (detached, hung): (Vec<_>, Vec<_>) = tc::diff(&observed.hooks, &ids(&wanted.hooks))
        .into_iter()
        .partition(|change| matches!(change, tc::Change::Detach(_)));
    let mut changes: Vec<_> = hung.into_iter().map(Change::Hook).collect();
    if observed.rules != wanted.rules {
        changes.push(Change::SetRules(wanted.rules));
    }
    let gone_routes = observed.routes.keys().filter(|vip| !wanted.routes.contains_key(*vip));
    let gone_routes: Vec<_> = gone_routes.map(|vip| Change::RemoveRoute(*vip)).collect();
    changes.extend(diff_ways(observed, wanted));
    changes.extend(services::diff(&observed.services, &wanted.services).into_iter().map(Change::Service));
    let routes = wanted.routes.iter().filter(|(vip, route)| observed.routes.get(vip) != Some(route));
    changes.extend(routes.map(|(vip, route)| Change::SetRoute(*vip, *route)));
    changes.extend(gone_routes);
    changes.extend(detached.into_iter().map(Change::Hook));
    changes
}

/// Records that are made are given their way with them.
fn diff_ways(observed: &PacketState, wanted: &PacketState) -> Vec<Change> {
    let known = observed.services.iter();
    let known = known.flat_map(|(vip, service)| service.members.iter().map(move |member| (*vip, *member)));
    known
        .filter(|pair| observed.ways.get(pair) != wanted.ways.get(pair))
        .filter(|(vip, member)| wanted.services.get(vip).is_some_and(|s| s.members.contains(member)))
        .map(|pair| Change::SetWay(pair, wanted.ways.get(&pair).copied()))
        .collect()
}

fn ids(hooks: &BTreeMap<Place, Hung>) -> BTreeMap<Place, u32> {
    let id = |hung: &Hung| match hung {
        Hung::Program(id) => Some(*id),
        Hung::Nothing => None,
    };
    hooks.iter().filter_map(|(place, hung)| Some((*place, id(hung)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{
        services::native::{Choice, Serving, TableService},
        tc::Direction,
    };

    const VIP: &str = "10.0.0.100:6443";
    const BACKEND: &str = "10.0.0.1:6443";

    fn state() -> PacketState {
        let (vip, backend): Pair = (VIP.parse().unwrap(), BACKEND.parse().unwrap());
        let service = TableService {
            name: "apiserver".parse().unwrap(),
            serving: Serving { policy: Choice::Random, weights: [(backend, 1)].into(), reserve: [].into() },
            members: [backend].into(),
        };
        let way = Way { source: "10.0.0.9".parse().unwrap(), interface: 2, local: false };
        PacketState {
            hooks: [(Place { interface: 1, direction: Direction::Out }, Hung::Program(7))].into(),
            rules: Rules { takes: true, ..Rules::default() },
            ways: [((vip, backend), way)].into(),
            routes: [(vip.ip(), VipRoute::default())].into(),
            services: [(vip, service)].into(),
        }
    }

    #[test]
    fn from_nothing_packets_are_sent_here_last() {
        let changes = diff(&PacketState::default(), &state());
        let place = |wanted: fn(&Change) -> bool| changes.iter().position(wanted).unwrap();
        assert_eq!(place(|c| matches!(c, Change::Hook(tc::Change::Attach(_)))), 0);
        assert_eq!(place(|c| matches!(c, Change::SetRules(_))), 1);
        assert_eq!(place(|c| matches!(c, Change::Service(ServiceChange::Add(..)))), 2);
        assert_eq!(place(|c| matches!(c, Change::SetRoute(..))), 3);
    }

    #[test]
    fn to_nothing_packets_stop_coming_before_programs_go() {
        let changes = diff(&state(), &PacketState::default());
        let last = changes.last();
        assert!(matches!(last, Some(Change::Hook(tc::Change::Detach(_)))), "{changes:?}");
        assert!(changes.iter().any(|c| matches!(c, Change::RemoveRoute(_))), "{changes:?}");
    }

    #[test]
    fn a_route_that_moved_is_followed_for_the_backends_that_stay() {
        let mut wanted = state();
        let pair = *wanted.ways.keys().next().unwrap();
        wanted.ways.get_mut(&pair).unwrap().interface = 3;
        let expected = Change::SetWay(pair, wanted.ways.get(&pair).copied());
        assert_eq!(diff(&state(), &wanted), [expected]);
        wanted.ways.clear();
        assert_eq!(diff(&state(), &wanted), [Change::SetWay(pair, None)]);
    }

    #[test]
    fn what_is_as_it_should_be_needs_no_change() {
        assert_eq!(diff(&state(), &state()), []);
    }
}
