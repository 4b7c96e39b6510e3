//! Thousands of nodes: the minds of their agents, which are the real ones, their shells and their clients.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use lb_core::{
    config::Config,
    control::{Adopted, Controller, Effect, Event, Eviction, Now, Which},
    desired::DesiredState,
    model::Health,
    probe::{Failure, Phase, Silence},
    state::State,
};

use crate::{
    clients::{Cohort, Ended, Policy, Set, Why},
    line::{Line, Told},
    masters::{default_config, key, master},
    tally::Tally,
    world::{Due, Manner, Time, World},
};

/// From an order to a kernel that follows it.
const PROGRAMMED: Duration = Duration::from_millis(1);

/// What nodes owe to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// Each its own, as it is.
    Own,
    /// All the same: what would be without it.
    Same,
}

/// Which connections go elsewhere.
#[derive(Debug)]
pub struct Order {
    set: Set,
    evict: Vec<(usize, Which)>,
}

struct Node {
    controller: Controller,
    /// Where its next tick is in the queue; others are stale.
    tick: Option<Time>,
    lines: Vec<Line>,
    in_force: Set,
    /// When the set in force last changed.
    changed: Time,
    /// When it last found a master dead.
    verdict: Time,
}

/// All of it.
pub struct Cluster {
    pub world: World,
    nodes: Vec<Node>,
    pub cohorts: Vec<Cohort>,
}

impl Cluster {
    /// Every agent starts at the same instant, as after a power cut: the worst case. `more` is added to the service.
    pub fn started_together(nodes: usize, chance: Chance, more: &str) -> Self {
        let ways = [
            (Policy::Random, Ended::BacksOff),
            (Policy::Sticky, Ended::BacksOff),
            (Policy::Random, Ended::Dials),
        ];
        let cohort = |(number, (policy, ended))| Cohort::new(number, nodes, policy, ended);
        let cohorts = ways.into_iter().enumerate().map(cohort).collect();
        let mut cluster = Self { world: World::new(), nodes: Vec::with_capacity(nodes), cohorts };
        let config = default_config(more);
        for node in 0..nodes {
            cluster.start(node, chance, config.clone());
        }
        cluster
    }

    fn start(&mut self, node: usize, chance: Chance, config: Arc<Config>) {
        let seed = match chance {
            Chance::Own => node as u64,
            Chance::Same => 0,
        };
        // The seed's other fruits are the controller's.
        let phase = match chance {
            Chance::Own => Duration::from_millis(500).mul_f64(fastrand::Rng::with_seed(!seed).f64()),
            Chance::Same => Duration::ZERO,
        };
        let (state, adopted) = (State::default(), Adopted::default());
        let (controller, effects) =
            Controller::new(config, &state, &adopted, BTreeSet::new(), self.now(), seed);
        let lines = effects.iter().filter_map(|effect| match effect {
            Effect::StartProber(target) => Some(Line::new(node, master(target.address()), phase, target)),
            _ => None,
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(Line::master);
        self.nodes.push(Node {
            controller,
            tick: None,
            lines,
            in_force: Set::new(),
            changed: Duration::ZERO,
            verdict: Duration::ZERO,
        });
        self.perform(node, effects);
    }

    fn now(&self) -> Now {
        let now = self.world.now;
        Now { instant: self.world.instant(now), wall: jiff::Timestamp::UNIX_EPOCH + now }
    }

    pub fn run(&mut self, end: Time) {
        while let Some((node, due)) = self.world.next(end) {
            self.happen(node, due);
        }
    }

    /// Lets it run, and then connects all clients.
    pub fn warm_up(&mut self, end: Time) {
        self.run(end);
        for (node, of_node) in self.nodes.iter().enumerate() {
            self.cohorts.iter_mut().for_each(|cohort| cohort.seat(node, &of_node.in_force));
        }
    }

    fn happen(&mut self, node: usize, due: Due) {
        let Self { world, nodes, cohorts } = self;
        let Node { lines, tick, in_force, .. } = &mut nodes[node];
        match due {
            Due::Tick if *tick == Some(world.now) => self.tell(node, Event::Tick),
            Due::Tick => {}
            Due::Beat { master } => lines[master].beat(world),
            Due::Pong { master } => lines[master].pong(world),
            Due::Missed { master, attempt } => lines[master].missed(world, attempt),
            Due::Over { master, attempt, outcome } => {
                let told = lines[master].over(world, attempt, *outcome);
                self.told(node, master, told);
            }
            Due::Lost { master } => {
                let told = lines[master].lost(world);
                self.told(node, master, told);
            }
            Due::Look { master } => self.look(node, master),
            Due::InForce(order) => self.enforce(node, *order),
            Due::Dial { cohort, client, turn } => {
                cohorts[cohort].dial(world, client, turn, in_force);
            }
        }
    }

    fn told(&mut self, node: usize, master: usize, told: Option<Told>) {
        let key = key(master);
        match told {
            Some(Told::Over { attempt, outcome }) => self.tell(node, Event::Probed { key, attempt, outcome }),
            Some(Told::Lost) => {
                self.tell(node, Event::ConnectionLost { key, why: Failure::Reset(Phase::Idle) })
            }
            None => {}
        }
    }

    fn look(&mut self, node: usize, master: usize) {
        let Self { world, nodes, .. } = self;
        let line = &mut nodes[node].lines[master];
        let Some(vigil) = line.vigil.as_mut().filter(|vigil| vigil.next == world.now) else { return };
        let Some(look) = vigil.look(world.now, world.masters[master]) else {
            line.vigil = None;
            return;
        };
        world.due(vigil.next, node, Due::Look { master });
        if look.knocked {
            world.traffic.knocks[master].add(world.now);
        }
        // To a dead one's machine it is no news.
        if look.news && !line.dead {
            let silence = Silence { since: world.instant(vigil.since), host: look.host };
            self.tell(node, Event::Silent { key: key(master), silence });
        }
    }

    fn tell(&mut self, node: usize, event: Event) {
        let now = self.now();
        let effects = self.nodes[node].controller.handle(now, event);
        self.perform(node, effects);
    }

    fn perform(&mut self, node: usize, effects: Vec<Effect>) {
        let Self { world, nodes, .. } = self;
        let of_node = &mut nodes[node];
        for effect in effects {
            match effect {
                Effect::Probe { key, attempt, doubted } => {
                    of_node.lines[master(key.address)].probe(world, attempt, doubted);
                }
                Effect::Program { desired, evict } => {
                    let order = Box::new(Order::new(&desired, &evict));
                    world.due(world.now + PROGRAMMED, node, Due::InForce(order));
                }
                Effect::Announce(change) => {
                    of_node.lines[master(change.address)].dead = change.to == Health::Dead;
                    if change.to == Health::Dead {
                        of_node.verdict = world.now;
                    }
                }
                _ => {}
            }
        }
        let tick = of_node.controller.deadline().map(|due| world.since_epoch(due).max(world.now));
        if let Some(due) = tick
            && of_node.tick != tick
        {
            world.due(due, node, Due::Tick);
        }
        of_node.tick = tick;
    }

    fn enforce(&mut self, node: usize, order: Order) {
        let Self { world, nodes, cohorts } = self;
        if nodes[node].in_force != order.set {
            nodes[node].changed = world.now;
        }
        nodes[node].in_force = order.set;
        for cohort in cohorts {
            for (master, which) in &order.evict {
                match which {
                    Which::All => cohort.end(world, node, *master, Why::Aborted, world.now),
                    Which::BegunSince(_) => cohort.end_begun(world, node, *master),
                    // Not at the defaults.
                    Which::Elders { .. } => {}
                }
            }
        }
    }

    /// The process of a master dies: its connections are reset within a millisecond.
    pub fn kill(&mut self, master: usize) {
        let Self { world, nodes, cohorts } = self;
        world.masters[master] = Manner::Refuses;
        for node in 0..nodes.len() {
            let later = |world: &mut World| world.now + Duration::from_micros(world.random.u64(..1000));
            let at = later(world);
            world.due(at, node, Due::Lost { master });
            for cohort in cohorts.iter_mut() {
                let at = later(world);
                cohort.end(world, node, master, Why::Reset, at);
            }
        }
    }

    /// A master behaves in another way from now on.
    pub fn becomes(&mut self, master: usize, manner: Manner) {
        let Self { world, nodes, .. } = self;
        let before = std::mem::replace(&mut world.masters[master], manner);
        if manner == Manner::Serves && before != Manner::Refuses {
            let resent = before == Manner::Unreachable;
            nodes.iter_mut().for_each(|node| node.lines[master].resume(world, resent));
        }
    }

    /// How many masters serve on each node.
    pub fn serving(&self) -> impl Iterator<Item = usize> {
        self.nodes.iter().map(|node| node.in_force.len())
    }

    /// When each node last changed who serves.
    pub fn changed(&self) -> impl Iterator<Item = Time> {
        self.nodes.iter().map(|node| node.changed)
    }

    /// When each node last found a master dead.
    pub fn verdicts(&self) -> impl Iterator<Item = Time> {
        self.nodes.iter().map(|node| node.verdict)
    }

    /// The set in force on each node.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.nodes.iter().map(|node| &node.in_force)
    }

    /// All handshakes with a master: of agents and of a cohort.
    pub fn handshakes(&self, cohort: usize, master: usize) -> Tally {
        self.world.traffic.handshakes[master].and(&self.cohorts[cohort].handshakes[master])
    }

    /// The most handshakes that one of the masters gets in a window of so many milliseconds.
    pub fn most(&self, cohort: usize, millis: usize, span: Range<Time>) -> u32 {
        (0..3).map(|master| self.handshakes(cohort, master).most(millis, span.clone())).max().unwrap_or(0)
    }
}

impl Order {
    fn new(desired: &DesiredState, evict: &[Eviction]) -> Self {
        let serving = desired.services[0].serving.iter();
        let evict = evict.iter().map(|Eviction { pair, which }| (master(pair.1), *which));
        Self {
            set: serving.map(|backend| (master(backend.address), backend.weight)).collect(),
            evict: evict.collect(),
        }
    }
}
