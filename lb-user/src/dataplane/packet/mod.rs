//! The packet dataplane: eBPF on TC, for connections that no process of this node makes with connect(): those of virtual
//! machines, of sandboxes, of machines that the node forwards for. And for the node's own, where there is no cgroup v2.
//!
//! `world` is what is found on the node, `native` the kernel's state as data; `kernel` makes the calls, `evict` ends
//! connections, `sweep` takes those out of the table that are over, `list` shows them; `lower` is what should be done,
//! `plan` says it, `pinned` is about what there is without an agent, `survey` about what stands in the way, `onlookers` about
//! who would miss packets that pass by the stack, `answers` about where those to the node's own processes may be received.

mod answers;
mod evict;
mod inspect;
pub(super) mod kernel;
mod list;
mod lower;
mod native;
mod onlookers;
mod pinned;
mod plan;
mod survey;
mod sweep;
mod wires;
pub(super) mod world;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use lb_core::{
    config::Interfaces,
    control::{Eviction, Pair},
    desired::DesiredState,
    model::{DataplaneKind, InterfacePattern, Scope},
};

pub(super) use evict::since_boot;
pub use kernel::try_programs;
pub use native::{Change, PacketState};

use self::{
    evict::Evictor,
    kernel::{FlowMaps, PacketMaps, Programs, WireMaps, pins},
    wires::Wires,
    world::{Rules, World},
};
use super::{
    Counters, Dataplane, DataplaneError, Evicted, Inspection, Unsupported,
    services::Tables,
    socket,
    tc::{self, Foreign, Hooks, Hung, Owner, Place, Program, ROUTES},
    xdp,
};
use crate::os::{bpffs, lock::AgentLock, netlink::routes::LOOPBACK};

/// The letter of its layouts' directories.
const LAYOUT: char = 'p';

/// Programs that are put on interfaces in one go: the kernel takes up to 17 ms for each (an RCU grace period), and an eviction
/// must not wait for those of hundreds of interfaces.
const HOOKS_AT_ONCE: usize = 16;
/// From one go to the next.
const UNFINISHED: Duration = Duration::from_millis(50);
/// Interfaces, routes and addresses are followed; looking is for what was missed, and for what somebody takes away.
const RESYNC: Duration = Duration::from_secs(5);

/// What the dataplane is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to pin.
    pub bpffs: PathBuf,
    /// Whether connections of others than the node's own processes are taken.
    pub scope: Scope,
    /// The node's name, which decides where its home is with `policy: sticky`.
    pub node: String,
    /// Whose packets for a VIP are taken.
    pub interfaces: Interfaces,
    /// Between which XDP takes packets of connections that are open.
    pub xdp: Vec<InterfacePattern>,
    /// How many connections the table has room for.
    pub connections: u32,
    /// Whether the backends see the node's address.
    pub masquerade: bool,
    /// Whether packets of open connections that are forwarded pass by the stack, and answers to the node's own processes by the
    /// loopback interface, where nobody there looks at them.
    pub shortcut: bool,
    /// Whether a SYN that is not answered goes to another backend.
    pub rescue: bool,
}

/// The packet dataplane, loaded.
pub struct PacketDataplane {
    options: Options,
    programs: Programs,
    hooks: Hooks,
    tables: Tables<PacketMaps>,
    flows: FlowMaps,
    wires: WireMaps,
    /// XDP's programs on interfaces, and where one could not be put, and why.
    fast: xdp::Links,
    slow: BTreeMap<u32, String>,
    /// How many connections the table has room for: one that was there keeps its size.
    room: u32,
    evictor: Evictor,
    /// As it was found at the last look.
    world: World,
    /// What ran on interfaces then, for whoever asks next; `None`: it has been changed since, or asked for.
    running: Option<Running>,
    /// Interfaces on which a program could not be put, and why.
    refused: BTreeMap<Place, String>,
    /// How many were put on interfaces since the last look, and whether there are more to come.
    attached: usize,
    unfinished: bool,
    swept: Instant,
    /// It takes no new connections any more.
    quiesced: bool,
    lock: Option<Arc<AgentLock>>,
}

impl PacketDataplane {
    /// Loads the programs. Where a predecessor's run they are replaced by the first [`Dataplane::apply`], without a gap.
    ///
    /// # Errors
    /// Without a capability; when the kernel refuses the programs, or does not answer about sockets.
    pub fn open(options: Options) -> Result<Self, DataplaneError> {
        bpffs::ensure(&options.bpffs)?;
        let pins = pins(&options.bpffs);
        let (programs, room) = kernel::load(&pins, options.connections, !options.xdp.is_empty())?;
        let hooks = Hooks::open(&pins.links(), &made(&options.bpffs), Owner::Packet, None)?;
        let (flows, _) = FlowMaps::open(&pins)?;
        let tables = Tables::new(PacketMaps::open(&pins)?);
        Ok(Self {
            programs,
            hooks,
            tables,
            flows,
            wires: WireMaps::open(&pins)?,
            fast: fast(&options.bpffs),
            slow: BTreeMap::new(),
            room,
            evictor: Evictor::new()?,
            world: World::default(),
            running: None,
            refused: BTreeMap::new(),
            attached: 0,
            unfinished: false,
            swept: Instant::now(),
            quiesced: false,
            lock: None,
            options,
        })
    }

    /// Keeps other agents away from what is pinned for as long as this lives.
    #[must_use]
    pub fn holding(mut self, lock: Arc<AgentLock>) -> Self {
        self.lock = Some(lock);
        self
    }

    /// What runs on the interfaces where something should, and where something of ours does.
    fn running(&self) -> Result<Running, DataplaneError> {
        let hung = self.hooks.observe()?;
        let mut interfaces = self.world.followed(&self.options.interfaces);
        interfaces.extend(hung.keys().map(|place| place.interface));
        let foreign = Hooks::foreign(interfaces, &hung, &socket::rescue_programs(&self.options.bpffs));
        Ok(Running { hung, foreign })
    }

    fn rules(&self) -> Rules {
        lower::rules(&self.options, &self.world, !self.quiesced)
    }

    fn observed_ways(&self) -> Result<BTreeMap<Pair, world::Way>, DataplaneError> {
        let records = self.tables.records_by_pair()?;
        let maps = self.tables.look();
        Ok(records.into_iter().filter_map(|(pair, index)| Some((pair, maps.told().way(index)?))).collect())
    }

    fn set_way(&mut self, pair: &Pair, way: Option<world::Way>) -> Result<(), DataplaneError> {
        if let Some(index) = self.tables.records_by_pair()?.get(pair) {
            self.tables.maps().tell().set_way(*index, way);
        }
        Ok(())
    }

    /// An interface that does not take a program keeps none of the others back; the loopback interface does.
    fn hook(&mut self, change: tc::Change) -> Result<(), DataplaneError> {
        let (tc::Change::Attach(place) | tc::Change::Update(place) | tc::Change::Detach(place)) = change;
        if matches!(change, tc::Change::Attach(_)) && place.interface != LOOPBACK {
            self.attached += 1;
            if self.attached > HOOKS_AT_ONCE {
                self.unfinished = true;
                return Ok(());
            }
        }
        let places = self.world.places(|name| self.options.interfaces.has(name));
        let framing = places.iter().find(|(known, _)| *known == place).map(|(_, framing)| *framing);
        let program = framing.map(|framing| self.programs.of(place.direction, framing));
        match self.hooks.apply(change, program) {
            Ok(_) => {
                self.refused.remove(&place);
                Ok(())
            }
            Err(error) if place.interface == LOOPBACK => Err(error),
            Err(error) => {
                let error = crate::agent::chain(&error);
                tracing::debug!(%place, error, "an interface takes no program");
                self.refused.insert(place, error);
                Ok(())
            }
        }
    }

    /// An interface that does not take XDP's program has those on TC.
    fn speed(&mut self, change: xdp::Change) {
        let program = self.programs.wire().and_then(Result::ok);
        match self.fast.apply(change, program) {
            Ok(_) => self.slow.remove(&change.interface()),
            Err(error) => {
                let error = crate::agent::chain(&error);
                tracing::debug!(?change, error, "an interface takes no XDP program");
                self.slow.insert(change.interface(), error)
            }
        };
    }
}

/// What runs on interfaces.
struct Running {
    /// Where ours do, or did.
    hung: BTreeMap<Place, Hung>,
    /// What others have there.
    foreign: Result<Vec<Foreign>, DataplaneError>,
}

/// Where XDP's programs on interfaces are pinned.
fn fast(bpffs: &Path) -> xdp::Links {
    xdp::Links::new(pins(bpffs).base().join("wires"))
}

/// Where it is noted which qdiscs are ours.
pub(super) fn made(bpffs: &Path) -> PathBuf {
    bpffs.join("qdiscs")
}

impl Dataplane for PacketDataplane {
    const KIND: DataplaneKind = DataplaneKind::Packet;

    type Native = PacketState;
    type Change = Change;

    fn observe(&mut self, desired: &DesiredState) -> Result<PacketState, DataplaneError> {
        self.running = None;
        self.world =
            World::look(desired).map_err(DataplaneError::failed("look at", "interfaces and routes"))?;
        (self.attached, self.unfinished) = (0, false);
        let fast = self.fast.observe()?;
        self.world.wires = Wires::look(&self.options, &self.world.interfaces, &fast)
            .map_err(DataplaneError::failed("look at", "interfaces for XDP"))?;
        let running = self.running()?;
        let hooks = running.hung.clone();
        self.world.onlookers = onlookers::look(&self.options, &self.world, &running);
        self.running = Some(running);
        self.slow.retain(|interface, _| self.world.wires.used.contains_key(interface));
        let routes = ROUTES.observe().map_err(DataplaneError::failed("list", "routes"))?;
        self.world.answers = answers::look(&self.options, desired, &self.world, &routes);
        let ways = self.world.ways();
        self.tables.maps().know(ways);
        Ok(PacketState {
            hooks,
            fast,
            wires: self.wires.wires()?,
            rules: self.tables.look().told().rules(),
            ways: self.observed_ways()?,
            routes,
            services: self.tables.observe()?,
        })
    }

    fn lower(&self, desired: &DesiredState) -> Result<PacketState, Unsupported> {
        let program = |place: Place, framing| self.programs.of(place.direction, framing).id();
        let fast = self.programs.wire().and_then(Result::ok).map(Program::id);
        Ok(lower::lower(desired, &self.options, &self.world, !self.quiesced, program, |_| fast))
    }

    fn diff(observed: &PacketState, wanted: &PacketState) -> Vec<Change> {
        native::diff(observed, wanted)
    }

    fn subject(change: &Change) -> Option<SocketAddr> {
        change.vip()
    }

    fn apply(&mut self, change: &Change) -> Result<(), DataplaneError> {
        match change {
            Change::Hook(change) => {
                self.running = None;
                self.hook(*change)
            }
            Change::Fast(change) => {
                self.speed(*change);
                Ok(())
            }
            Change::SetWire(interface, wire) => self.wires.set(*interface, *wire),
            Change::SetRules(rules) => {
                self.tables.maps().tell().set_rules(rules);
                Ok(())
            }
            Change::SetWay(pair, way) => self.set_way(pair, *way),
            Change::Service(change) => self.tables.apply(change),
            Change::SetRoute(vip, route) => {
                ROUTES.set(*vip, *route).map_err(DataplaneError::failed("route", vip.to_string()))
            }
            Change::RemoveRoute(vip) => {
                ROUTES.remove(*vip).map_err(DataplaneError::failed("remove the route of", vip.to_string()))
            }
        }
    }

    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        self.evictor.evict(&mut self.flows, self.options.scope, evictions)
    }

    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        self.tables.counters()
    }

    fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        inspect::inspect(self)
    }

    fn settle(&mut self) -> Result<(), DataplaneError> {
        self.tables.settle()?;
        if self.swept.elapsed() >= sweep::INTERVAL {
            self.swept = Instant::now();
            sweep::sweep(&mut self.flows, &mut self.tables)?;
        }
        Ok(())
    }

    fn resync(&self) -> Duration {
        if self.unfinished { UNFINISHED } else { RESYNC }
    }

    fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    fn quiesce(&mut self) -> Result<(), DataplaneError> {
        self.quiesced = true;
        let rules = self.rules();
        self.tables.maps().tell().set_rules(&rules);
        Ok(())
    }

    fn resume(&mut self) {
        self.quiesced = false;
    }

    fn remove(&mut self) -> Result<(), DataplaneError> {
        // An open directory would keep the file system busy.
        self.lock = None;
        Self::cleanup(&self.options.bpffs).map(drop)
    }
}
