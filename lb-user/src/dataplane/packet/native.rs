//! The packet dataplane's state as data, and the way from one state to another. Pure.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use lb_core::control::Pair;

use super::{
    wires::Wire,
    world::{Rules, Way},
};
use crate::{
    dataplane::{
        services::{self, ServiceChange, Services},
        tc::{self, Hung, Place},
        xdp,
    },
    os::netlink::vip_routes::VipRoute,
};

/// What the kernel holds, or should hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PacketState {
    /// What runs on which interface.
    pub hooks: BTreeMap<Place, Hung>,
    /// On which interfaces XDP's runs.
    pub fast: BTreeMap<u32, Hung>,
    /// Between which interfaces it takes packets.
    pub wires: BTreeMap<u32, Wire>,
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
    /// The same with XDP.
    Fast(xdp::Change),
    /// Say what XDP may do with an interface; `None`: nothing.
    SetWire(u32, Option<Wire>),
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
            Self::Hook(_)
            | Self::Fast(_)
            | Self::SetWire(..)
            | Self::SetRules(_)
            | Self::SetRoute(..)
            | Self::RemoveRoute(_) => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(tc::Change::Attach(place)) => write!(f, "run a program on {place}"),
            Self::Hook(tc::Change::Update(place)) => write!(f, "run another program on {place}"),
            Self::Hook(tc::Change::Detach(place)) => write!(f, "run no program on {place} any more"),
            Self::Fast(change) => {
                let how = match change {
                    xdp::Change::Attach(_) => "an XDP program",
                    xdp::Change::Update(_) => "another XDP program",
                    xdp::Change::Detach(_) => "no XDP program any more",
                };
                write!(f, "run {how} on interface {}", change.interface())
            }
            Self::SetWire(interface, Some(wire)) => write!(f, "tell XDP: interface {interface} {wire}"),
            Self::SetWire(interface, None) => write!(f, "tell XDP: interface {interface} is no wire"),
            Self::SetRules(rules) => write!(f, "tell the programs: {rules}"),
            Self::SetWay((vip, backend), Some(way)) => {
                write!(f, "reach {backend} of {vip} {way}")?;
                if way.in_place { f.write_str(", answers received there") } else { Ok(()) }
            }
            Self::SetWay((vip, backend), None) => write!(f, "do not reach {backend} of {vip}"),
            Self::Service(change) => change.fmt(f),
            Self::SetRoute(vip, _) => write!(f, "route {vip} to the loopback interface"),
            Self::RemoveRoute(vip) => write!(f, "remove the route of {vip}"),
        }
    }
}

/// The mutations from `observed` to `wanted`, in order: what packets need on their way, then the services, then the routes
/// that bring packets, and last what is not needed any more, and what is for speed alone.
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
    changes.extend(diff_wires(observed, wanted));
    changes.extend(xdp::diff(&observed.fast, &ids(&wanted.fast)).into_iter().map(Change::Fast));
    changes
}

fn diff_wires(observed: &PacketState, wanted: &PacketState) -> Vec<Change> {
    let known = wanted.wires.keys().chain(observed.wires.keys().filter(|at| !wanted.wires.contains_key(at)));
    let differs = |at: &&u32| observed.wires.get(at) != wanted.wires.get(at);
    known.filter(differs).map(|at| Change::SetWire(*at, wanted.wires.get(at).copied())).collect()
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

fn ids<K: Copy + Ord>(hooks: &BTreeMap<K, Hung>) -> BTreeMap<K, u32> {
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
        let way = Way {
            source: "10.0.0.9".parse().unwrap(),
            interface: 2,
            local: false,
            on_link: true,
            in_place: true,
        };
        PacketState {
            hooks: [(Place { interface: 1, direction: Direction::Out }, Hung::Program(7))].into(),
            fast: [(2, Hung::Program(9))].into(),
            wires: [(2, Wire { mac: [2, 0, 0, 0, 0, 1], sends: true, returns: true })].into(),
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
        assert_eq!(place(|c| matches!(c, Change::SetWire(..))), 4);
        assert_eq!(place(|c| matches!(c, Change::Fast(xdp::Change::Attach(2)))), 5);
    }

    #[test]
    fn to_nothing_packets_stop_coming_before_programs_go() {
        let changes = diff(&state(), &PacketState::default());
        let place = |wanted: fn(&Change) -> bool| changes.iter().position(wanted).unwrap();
        let route = place(|c| matches!(c, Change::RemoveRoute(_)));
        assert!(route < place(|c| matches!(c, Change::Hook(tc::Change::Detach(_)))), "{changes:?}");
        assert!(changes.contains(&Change::SetWire(2, None)), "{changes:?}");
        assert!(changes.contains(&Change::Fast(xdp::Change::Detach(2))), "{changes:?}");
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
