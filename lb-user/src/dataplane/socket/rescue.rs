//! Sending connections that are not answered to another backend: what the programs on TC need for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_common::packet::{FLOW_ANSWERED, FLOW_RESET, MAX_RESCUED, TALLY_ENDED, TALLY_RESCUED};
use lb_core::{
    control::Pair,
    desired::DesiredState,
    model::ConnectionState,
    view::connections::{CapacityView, Connection, CountedView, DroppedView, Table},
};

use super::kernel::{RESCUE_PROGRAMS, RESCUE_SHAPES, Rescued, RescuedMaps};
use crate::{
    dataplane::{
        DataplaneError,
        packet::{
            kernel::ToldMaps,
            since_boot,
            world::{Rules, Way, World},
        },
        services::{Pins, Services, Tables, kernel::ServiceMaps},
        tc::{self, Direction, Hooks, Hung, Owner, Place, Program},
    },
    os::{netlink::interfaces::Framing, sockdiag::SockDiag},
};

/// How often connections that are over are forgotten.
const SWEEP: Duration = Duration::from_secs(30);
/// One whose socket is not there may be just being made.
const YOUNG: Duration = Duration::from_secs(10);

/// What the programs need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RescueState {
    /// What runs on which interface.
    pub hooks: BTreeMap<Place, Hung>,
    /// What they are told.
    pub rules: Rules,
    /// How each backend is reached.
    pub ways: BTreeMap<Pair, Way>,
}

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RescueChange {
    /// Let a program run on an interface, or no longer.
    Hook(tc::Change),
    /// Tell the programs something else.
    SetRules(Rules),
    /// Say how a backend is reached; `None`: not at all.
    SetWay(Pair, Option<Way>),
}

impl fmt::Display for RescueChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(tc::Change::Attach(place)) => write!(f, "watch packets on {place}"),
            Self::Hook(tc::Change::Update(place)) => write!(f, "watch packets anew on {place}"),
            Self::Hook(tc::Change::Detach(place)) => write!(f, "watch packets no longer on {place}"),
            Self::SetRules(rules) if rules.rescues => {
                f.write_str("send connections that are not answered to another backend")
            }
            Self::SetRules(_) => f.write_str("leave connections that are not answered where they are"),
            Self::SetWay((_, backend), Some(way)) => write!(f, "reach {backend} {way}"),
            Self::SetWay((_, backend), None) => write!(f, "do not reach {backend}"),
        }
    }
}

/// The mutations from one state to another, for the services that the tables hold when these are made.
pub fn diff(observed: &RescueState, wanted: &RescueState, services: &Services) -> Vec<RescueChange> {
    let id = |(place, hung): (&Place, &Hung)| match hung {
        Hung::Program(id) => Some((*place, *id)),
        Hung::Nothing => None,
    };
    let ids = wanted.hooks.iter().filter_map(id).collect();
    let mut changes: Vec<_> = Vec::new();
    let members = services.iter().flat_map(|(vip, s)| s.members.iter().map(move |member| (*vip, *member)));
    let other = members.filter(|pair| observed.ways.get(pair) != wanted.ways.get(pair));
    changes.extend(other.map(|pair| RescueChange::SetWay(pair, wanted.ways.get(&pair).copied())));
    changes.extend(tc::diff(&observed.hooks, &ids).into_iter().map(RescueChange::Hook));
    if observed.rules != wanted.rules {
        changes.push(RescueChange::SetRules(wanted.rules));
    }
    changes
}

/// Tells every connection that was sent to another backend; `None`: none ever was. Loads nothing and changes nothing.
pub fn peek(pins: &Pins, each: &mut dyn FnMut(Connection)) -> Result<Option<Table>, DataplaneError> {
    if !RescuedMaps::are_pinned(pins) {
        return Ok(None);
    }
    let [ways, rules, tally, ..] = &RESCUE_SHAPES;
    let told = ToldMaps::open(pins, [ways, rules, tally])?;
    let count = told.tally(TALLY_RESCUED);
    if count == 0 {
        return Ok(None);
    }
    let now = since_boot();
    for rescued in RescuedMaps::open(pins)?.read()? {
        each(connection(&rescued, now));
    }
    Ok(Some(Table {
        dropped: DroppedView::default(),
        counted: CountedView { begun: count, rescued: count, ..CountedView::default() },
        capacity: CapacityView { open: MAX_RESCUED.into(), opening: 0 },
    }))
}

fn connection(rescued: &Rescued, now: Duration) -> Connection {
    let flow = &rescued.flow;
    let state = match flow.state {
        state if state & FLOW_RESET != 0 => ConnectionState::Reset,
        state if state & FLOW_ANSWERED != 0 => ConnectionState::Open,
        _ => ConnectionState::Opening,
    };
    Connection {
        client: rescued.client,
        vip: rescued.meant,
        backend: rescued.backend,
        port: rescued.port,
        state,
        host: true,
        rescued: true,
        age: now.saturating_sub(Duration::from_nanos(flow.begun)),
        idle: now.saturating_sub(Duration::from_nanos(flow.seen)),
    }
}

/// The programs on TC, and what they are told.
pub struct Rescue {
    programs: Option<[Program; 4]>,
    hooks: Hooks,
    told: ToldMaps,
    rescued: RescuedMaps,
    world: World,
    /// As it was found at the last look.
    observed: RescueState,
    /// Interfaces on which a program could not be put, and why.
    pub refused: BTreeMap<Place, String>,
    swept: Instant,
}

impl Rescue {
    /// Opens what was loaded. `wanted`: whether programs are to run at all.
    ///
    /// # Errors
    /// When what is pinned is not as it should be.
    pub fn open(pins: &Pins, made: &std::path::Path, wanted: bool) -> Result<Self, DataplaneError> {
        let [ways, rules, tally, ..] = &RESCUE_SHAPES;
        let pinned = |(_, pin): (&str, &str)| Program::pinned(&pins.program(pin));
        let [a, b, c, d] = RESCUE_PROGRAMS;
        let programs = match wanted {
            true => Some([pinned(a)?, pinned(b)?, pinned(c)?, pinned(d)?]),
            false => None,
        };
        Ok(Self {
            programs,
            hooks: Hooks::open(&links(pins), made, Owner::Rescue, None)?,
            told: ToldMaps::open(pins, [ways, rules, tally])?,
            rescued: RescuedMaps::open(pins)?,
            world: World::default(),
            observed: RescueState::default(),
            refused: BTreeMap::new(),
            swept: Instant::now(),
        })
    }

    /// What the kernel holds. Looks at the node's interfaces and routes as well.
    pub fn observe(
        &mut self,
        desired: &DesiredState,
        tables: &Tables<ServiceMaps>,
    ) -> Result<RescueState, DataplaneError> {
        if self.programs.is_some() {
            self.world =
                World::look(desired).map_err(DataplaneError::failed("look at", "interfaces and routes"))?;
        }
        let records = tables.records_by_pair()?.into_iter();
        let ways = records.filter_map(|(pair, index)| Some((pair, self.told.way(index)?))).collect();
        self.observed = RescueState { hooks: self.hooks.observe()?, rules: self.told.rules(), ways };
        Ok(self.observed.clone())
    }

    /// What it should hold; `takes`: whether new connections are looked after.
    pub fn lower(&self, services: &Services, takes: bool) -> RescueState {
        if self.programs.is_none() {
            return RescueState::default();
        }
        // Programs take up to 17 ms each to attach (an RCU grace period): those who serve are programmed first.
        if services.values().all(|service| service.serving.weights.is_empty()) {
            return self.observed.clone();
        }
        let program = |(place, framing): (Place, Framing)| {
            Some((place, Hung::Program(self.program(place.direction, framing)?.id())))
        };
        let hooks = self.world.uplinks().into_iter().filter_map(program).collect();
        let (first_port, ports) = self.world.rescue_ports();
        let rules = Rules { first_port, ports, rescues: takes, ..Rules::default() };
        let pairs = services.iter().flat_map(|(vip, s)| s.members.iter().map(move |member| (*vip, *member)));
        let ways = pairs.filter_map(|pair| Some((pair, self.world.way(pair.1.ip())?))).collect();
        RescueState { hooks, rules, ways }
    }

    fn program(&self, direction: Direction, framing: Framing) -> Option<&Program> {
        let [input, output, input_l3, output_l3] = self.programs.as_ref()?;
        Some(match (direction, framing) {
            (Direction::In, Framing::Ip) => input_l3,
            (Direction::Out, Framing::Ip) => output_l3,
            (Direction::In, _) => input,
            (Direction::Out, _) => output,
        })
    }

    /// Makes one mutation. An interface that takes no program is noted, and keeps nothing else back.
    pub fn apply(
        &mut self,
        change: &RescueChange,
        tables: &Tables<ServiceMaps>,
    ) -> Result<(), DataplaneError> {
        match change {
            RescueChange::SetRules(rules) => self.told.set_rules(rules),
            RescueChange::SetWay(pair, way) => {
                if let Some(index) = tables.records_by_pair()?.get(pair) {
                    self.told.set_way(*index, *way);
                }
            }
            RescueChange::Hook(change) => self.hook(*change),
        }
        Ok(())
    }

    fn hook(&mut self, change: tc::Change) {
        let (tc::Change::Attach(place) | tc::Change::Update(place) | tc::Change::Detach(place)) = change;
        let framing = self.world.uplinks().into_iter().find(|(known, _)| *known == place);
        let program = framing.and_then(|(_, framing)| self.program(place.direction, framing));
        match self.hooks.apply(change, program) {
            Ok(_) => _ = self.refused.remove(&place),
            Err(error) => {
                let error = crate::agent::chain(&error);
                tracing::debug!(%place, error, "an interface takes no program");
                self.refused.insert(place, error);
            }
        }
    }

    /// How many connections were sent to another backend, ever.
    pub fn count(&self) -> u64 {
        self.told.tally(TALLY_RESCUED)
    }

    /// Forgets connections whose sockets are gone.
    pub fn sweep(&mut self) -> Result<(), DataplaneError> {
        if self.swept.elapsed() < SWEEP {
            return Ok(());
        }
        self.swept = Instant::now();
        let entries = self.rescued.read()?;
        if entries.is_empty() {
            return Ok(());
        }
        let meant: BTreeSet<SocketAddr> = entries.iter().map(|rescued| rescued.meant).collect();
        let sockets = SockDiag::open()
            .and_then(|diag| diag.connected(|socket| meant.contains(&socket.peer)))
            .map_err(DataplaneError::failed("list", "sockets"))?;
        let alive: BTreeSet<_> = sockets.iter().map(|socket| (socket.own, socket.peer)).collect();
        let now = since_boot();
        for rescued in &entries {
            let idle = now.saturating_sub(Duration::from_nanos(rescued.flow.seen));
            let is_reset = rescued.flow.state & FLOW_RESET != 0;
            if (is_reset || !alive.contains(&(rescued.client, rescued.meant))) && idle > YOUNG {
                self.rescued.forget(rescued)?;
                self.told.add_to_tally(TALLY_ENDED, 1);
            }
        }
        Ok(())
    }

    /// Takes every program off every interface.
    pub fn cleanup(pins: &Pins, made: &std::path::Path) -> Result<Vec<String>, DataplaneError> {
        let places = Hooks::cleanup(&links(pins), made, Owner::Rescue)?;
        Ok(places.iter().map(|place| format!("the program on {place}")).collect())
    }
}

/// Beside the links of the cgroup's hooks, which are known by their names.
fn links(pins: &Pins) -> std::path::PathBuf {
    pins.base().join("rescue")
}
