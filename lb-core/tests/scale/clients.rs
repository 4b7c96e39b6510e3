//! The long-lived connections through the VIP, and how client-go makes them anew.
//!
//! What is assumed of client-go (tools/cache/reflector.go, apimachinery's net/http.go and watch/streamwatcher.go):
//!
//! * A process has one HTTP/2 connection, and several watches on it; the one that dials first dials for all.
//! * A watch that ends with FIN or RST is begun anew at once. One that ends with ECONNABORTED, which is what ending a socket
//!   from outside gives, counts as an error: it backs off for 0.8 s and up to as much again by chance, and so does one
//!   whose dial is refused. The back-off doubles, up to 30 s.

use std::time::Duration;

use lb_core::desired::{DesiredBackend, home};

use crate::world::{Due, Manner, ROUND_TRIP, Time, World, secs};

/// Connections of each node: of the kubelet, of kube-proxy, and of two more.
pub const PER_NODE: usize = 4;
/// Watches on each, which back off one by one.
const WATCHES: usize = 4;
const BACK_OFF: Duration = Duration::from_millis(800);
const MOST_BACK_OFF: Duration = Duration::from_secs(30);
/// From the end of a connection to the dial that follows at once: a process wakes up.
const REACTION: (f64, f64) = (0.0001, 0.001);

/// How a master is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Random,
    Sticky,
}

/// What a client does about a connection that its node's agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It backs off, as client-go's watches do.
    BacksOff,
    /// It dials at once.
    Dials,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Reset,
    Aborted,
}

/// The set in force on a node: masters and their weights.
pub type Set = Vec<(usize, u32)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    On(usize),
    Dialling(usize),
    Nowhere,
}

struct Client {
    place: Place,
    /// Dials that were planned before are stale.
    turn: u32,
    refused: u32,
    lost: Time,
}

/// All clients of all nodes, with one way to choose masters and to reconnect.
pub struct Cohort {
    number: usize,
    pub policy: Policy,
    pub ended: Ended,
    clients: Vec<Client>,
    random: fastrand::Rng,
    /// TLS handshakes with each master.
    pub handshakes: [crate::tally::Tally; 3],
    /// How long each was without a connection.
    pub outages: Vec<Duration>,
    pub refused: usize,
    /// Connections that agents ended.
    pub evicted: usize,
}

impl Cohort {
    pub fn new(number: usize, nodes: usize, policy: Policy, ended: Ended) -> Self {
        let client = |_| Client { place: Place::Nowhere, turn: 0, refused: 0, lost: Duration::ZERO };
        Self {
            number,
            policy,
            ended,
            clients: (0..nodes * PER_NODE).map(client).collect(),
            random: fastrand::Rng::with_seed(11 + number as u64),
            handshakes: Default::default(),
            outages: Vec::new(),
            refused: 0,
            evicted: 0,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        match (self.policy, self.ended) {
            (Policy::Random, Ended::BacksOff) => "random, client-go",
            (Policy::Sticky, Ended::BacksOff) => "sticky, client-go",
            (Policy::Random, Ended::Dials) => "random, dial at once",
            (Policy::Sticky, Ended::Dials) => "sticky, dial at once",
        }
    }

    /// Connections on each master.
    pub fn shares(&self) -> [usize; 3] {
        [0, 1, 2].map(|master| self.clients.iter().filter(|client| client.place == Place::On(master)).count())
    }

    /// Connects all of a node's, before anything is counted.
    pub fn seat(&mut self, node: usize, set: &Set) {
        for client in of_node(node) {
            let chosen = self.choose(node, set);
            self.clients[client].place = chosen.map_or(Place::Nowhere, Place::On);
        }
    }

    fn choose(&mut self, node: usize, set: &Set) -> Option<usize> {
        match self.policy {
            Policy::Random => {
                let whole: u32 = set.iter().map(|(_, weight)| weight).sum();
                let mut point = if whole == 0 { return None } else { self.random.u32(..whole) };
                set.iter().find_map(|(master, weight)| match point.checked_sub(*weight) {
                    None => Some(*master),
                    Some(rest) => {
                        point = rest;
                        None
                    }
                })
            }
            Policy::Sticky => sticky(node, set),
        }
    }

    /// Ends a node's connections to a master, also those that are being made.
    pub fn end(&mut self, world: &mut World, node: usize, master: usize, why: Why, at: Time) {
        for client in of_node(node) {
            let hangs = match self.clients[client].place {
                Place::On(on) | Place::Dialling(on) => on == master,
                Place::Nowhere => false,
            };
            if hangs {
                self.lose(world, client, why, at);
            }
        }
    }

    /// Ends those of a node's that are being made.
    pub fn end_begun(&mut self, world: &mut World, node: usize, master: usize) {
        for client in of_node(node) {
            if self.clients[client].place == Place::Dialling(master) {
                self.lose(world, client, Why::Aborted, world.now);
            }
        }
    }

    fn lose(&mut self, world: &mut World, client: usize, why: Why, at: Time) {
        let reaction = between(&mut self.random, REACTION);
        let wait = match (why, self.ended) {
            (Why::Aborted, Ended::BacksOff) => self.back_off(0),
            (Why::Aborted, Ended::Dials) | (Why::Reset, _) => Duration::ZERO,
        };
        let lost = &mut self.clients[client];
        if let Place::On(_) = lost.place {
            self.evicted += usize::from(why == Why::Aborted);
            (lost.lost, lost.refused) = (at, 0);
        }
        lost.place = Place::Nowhere;
        self.dial_at(world, client, at + reaction + wait);
    }

    /// Of all watches of a connection the first to try again.
    fn back_off(&mut self, before: u32) -> Duration {
        let length = (BACK_OFF * (1 << before.min(6))).min(MOST_BACK_OFF);
        let watches = (0..WATCHES).map(|_| length.mul_f64(1.0 + self.random.f64()));
        watches.min().unwrap_or(length)
    }

    fn dial_at(&mut self, world: &mut World, client: usize, at: Time) {
        let turn = self.clients[client].turn + 1;
        self.clients[client].turn = turn;
        world.due(at, client / PER_NODE, Due::Dial { cohort: self.number, client, turn });
    }

    pub fn dial(&mut self, world: &mut World, client: usize, turn: u32, set: &Set) {
        if self.clients[client].turn != turn {
            return;
        }
        let chosen = self.choose(client / PER_NODE, set);
        let manner = chosen.map_or(Manner::Refuses, |master| world.masters[master]);
        match (chosen, manner) {
            (Some(master), Manner::Serves) => {
                let at = world.now + ROUND_TRIP;
                self.handshakes[master].add(at);
                self.outages.push(at + ROUND_TRIP - self.clients[client].lost);
                self.clients[client].place = Place::On(master);
            }
            (Some(master), Manner::Hangs | Manner::Unreachable) => {
                self.clients[client].place = Place::Dialling(master);
            }
            (_, Manner::Refuses) | (None, _) => {
                self.refused += 1;
                let before = self.clients[client].refused;
                self.clients[client].refused += 1;
                let wait = self.back_off(before);
                self.dial_at(world, client, world.now + ROUND_TRIP + wait);
            }
        }
    }
}

/// By rendezvous hashing of the node's name, as the agent does.
pub fn sticky(node: usize, set: &Set) -> Option<usize> {
    let address = |master: usize| crate::masters::MASTERS[master].parse().unwrap();
    let serving: Vec<_> =
        set.iter().map(|&(master, weight)| DesiredBackend { address: address(master), weight }).collect();
    let home = home(&format!("node-{node}.example.org"), &serving)?;
    set.iter().map(|(master, _)| *master).find(|master| address(*master) == home)
}

fn of_node(node: usize) -> std::ops::Range<usize> {
    node * PER_NODE..(node + 1) * PER_NODE
}

fn between(random: &mut fastrand::Rng, (least, most): (f64, f64)) -> Duration {
    secs(least + (most - least) * random.f64())
}
