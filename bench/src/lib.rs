//! Measures lbctl beside its peers: the same clients, the same masters, one way after the other to choose between them.
//!
//! [`contender`] starts each of them in a lab, [`client`] is what clients do there, [`steady`] and [`resources`] measure while
//! nothing fails, [`failover`] while masters do, [`probes`] what probes cost the masters. [`report`] keeps the figures and
//! renders them, [`run`] does it all in order.

pub mod client;
pub mod contender;
pub mod failover;
pub mod probes;
pub mod report;
pub mod resources;
pub mod run;
pub mod statistics;
pub mod steady;
pub mod usage;
