//! The next hop of what the node's own processes send.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::command::run;
use lb_tests::lab::{VIP, VIP_V6};
use lb_tests::wait::eventually;
use serde_json::json;

use super::paths::bulk;
use super::setup::{both_families, builder, in_turn, started, yaml};
use crate::common::SOON;
use crate::common::load::{Load, assert_untouched, figure};
use crate::common::quiet::beside_others;
use crate::common::wires::namespace;

/// A router that has lost its IPv4 address, by which packets of IPv4 go all the same: RFC 5549.
#[test]
fn what_the_node_sends_follows_the_route_to_another_next_hop() {
    let _turn = beside_others();
    let builder = builder().masters(0).routed_masters(1).real_neighbours();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    lab.agent_config(in_turn).unwrap();
    let _agent = started(&lab);
    let load = Load::on(&lab, lab.node(), "v4", 1, 4);
    load.more(5);
    let node = lab.node().host().netns();
    node.ip(&["route replace 192.168.78.0/24 via inet6 fd00:77::c".to_owned()]).unwrap();
    load.more(5);
    let router = namespace(&lab, "router");
    // There is a route back at any moment: with its last address an interface loses all routes.
    let lines = [
        "addr add 192.0.2.1/32 dev eth0",
        "route add 192.168.77.0/24 dev eth0 metric 7",
        "addr del 192.168.77.12/24 dev eth0",
    ];
    router.ip(&lines.map(str::to_owned)).unwrap();
    node.ip(&["neigh flush to 192.168.77.12 dev eth0".to_owned()]).unwrap();
    assert_eq!(bulk(lab.node(), VIP, "v4"), ["m1"]);
    assert_untouched(&load.stop());
}

/// Sends packets to the first master by the router, which is its neighbour as well; or to the master itself.
fn lead(lab: &Lab, by_router: bool) {
    let master = lab.master(0).host();
    let (v4, v6) = (master.v4(), master.v6());
    let routes = match by_router {
        true => [format!("route add {v4} via 192.168.77.12"), format!("route add {v6} via fd00:77::c")],
        false => [format!("route del {v4}"), format!("route del {v6}")],
    };
    lab.node().host().netns().ip(&routes).unwrap();
}

/// Counts packets of connections to a VIP: those that the router passes on, and those that the first master receives. Their ports
/// on the way tell them from the agent's probes.
struct Counters<'a>(&'a Lab);

/// Packets to the first master.
#[derive(Debug)]
struct Counted {
    by_router: u64,
    all: u64,
}

impl<'a> Counters<'a> {
    fn new(lab: &'a Lab) -> Self {
        let counters = Self(lab);
        for (role, hook) in [("router", "forward"), ("m1", "input")] {
            let rule = "tcp dport 6443 tcp sport 15360-26339 counter";
            let rules = format!(
                "table inet seen {{ chain seen {{ type filter hook {hook} priority 0; {rule}; }}; }}"
            );
            // A redirect would lead the node past the router.
            let settings = "echo 0 | tee /proc/sys/net/ipv4/conf/{all,eth0}/send_redirects";
            counters.sh(role, &format!("{settings}; nft '{rules}'"));
        }
        counters
    }

    fn sh(&self, role: &str, script: &str) -> String {
        run(&["ip", "netns", "exec", namespace(self.0, role).name(), "bash", "-ec", script]).unwrap()
    }

    fn count(&self, role: &str) -> u64 {
        let rules = self.sh(role, "nft list table inet seen");
        let mut words = rules.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// So many packets while a process of the node exchanges bodies with the master.
    fn bulk(&self, to: &str, family: &str) -> Counted {
        let before = Counted { by_router: self.count("router"), all: self.count("m1") };
        assert_eq!(bulk(self.0.node(), to, family), ["m1"]);
        let counted = Counted {
            by_router: self.count("router") - before.by_router,
            all: self.count("m1") - before.all,
        };
        figure(&format!("{family}: {counted:?}"));
        counted
    }
}

#[test]
fn a_neighbour_may_come_to_be_behind_a_router_and_be_a_neighbour_again() {
    let _turn = beside_others();
    let builder = builder().masters(1).routed_masters(1).real_neighbours();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let both_families = both_families(&lab);
    lab.agent_config(|config| {
        both_families(config);
        let master = lab.master(0);
        config["services"][0]["backends"] = yaml(json!([master.address()]));
        config["services"][1]["backends"] = yaml(json!([master.address_v6()]));
    })
    .unwrap();
    let agent = started(&lab);
    let counters = Counters::new(&lab);
    let loads = [("v4", VIP), ("v6", VIP_V6)]
        .map(|(family, to)| (family, to, Load::with(&lab, family, 1, 4, &["--to", to])));
    for (family, to, load) in &loads {
        assert_eq!(counters.bulk(to, family).by_router, 0, "{family}");
        lead(&lab, true);
        eventually(SOON, "all go by the router", || {
            let counted = counters.bulk(to, family);
            if counted.by_router * 10 > counted.all * 9 { Ok(()) } else { Err(format!("{counted:?}")) }
        })
        .unwrap();
        load.more(10);
        lead(&lab, false);
        assert_eq!(counters.bulk(to, family).by_router, 0, "{family}, again");
        load.more(10);
    }
    // The agent is told of the last change.
    loads[0].2.run_on(Duration::from_secs(1));
    drop(agent);
    lead(&lab, true);
    for (family, to, load) in loads {
        load.more(10);
        // What the programs were told last holds; only what answers at once goes by it.
        let Counted { by_router, all } = counters.bulk(to, family);
        assert!(by_router > 0 && by_router * 10 < all * 9, "{family}: {by_router} of {all} by the router");
        assert_untouched(&load.stop());
    }
}
