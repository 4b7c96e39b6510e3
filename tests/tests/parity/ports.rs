//! Source ports. To the node a connection to the virtual address and one to a master are two, and both may get the same
//! port; the master, which does not see the virtual address, would take them for one, and the later one hangs.

use std::net::SocketAddr;

use super::setup::Setup;
use crate::common::quiet::beside_others;

/// The agent's own connection to a master begins at a port that the kernel does not choose for anybody.
pub fn own_port(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, _agent)) = setup.running(1) else { return };
    let read = |words: &[&str]| lab.node().run(words).and_then(|done| done.success()).unwrap();
    let master = lab.master(0).address().ip().to_string();
    let shown = read(&["ss", "-Htn", "state", "established", "dst", &master]);
    let own: Vec<SocketAddr> =
        shown.lines().map(|line| line.split_whitespace().nth(2).unwrap().parse().unwrap()).collect();
    assert!(!own.is_empty(), "the agent has no connection");
    let range = read(&["cat", "/proc/sys/net/ipv4/ip_local_port_range"]);
    let range: Vec<u16> = range.split_whitespace().map(|port| port.parse().unwrap()).collect();
    assert!(own.iter().all(|own| own.port() > range[1]), "{own:?}, chosen from {range:?}");
}
