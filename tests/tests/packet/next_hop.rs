//! The next hop of what the node's own processes send.

use lb_tests::Lab;
use lb_tests::command::run;
use lb_tests::lab::{VIP, VIP_V6};
use lb_tests::wait::eventually;
use serde_json::json;

use super::paths::bulk;
use super::setup::{both_families, builder, in_turn, started, yaml};
use crate::common::SOON;
use crate::common::load::{Load, assert_untouched};
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
    router
        .ip(&["addr del 192.168.77.12/24 dev eth0", "route add 192.168.77.0/24 dev eth0"].map(str::to_owned))
        .unwrap();
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

/// Counts what the router passes on of connections to a VIP: their ports on the way tell them from the agent's probes.
struct PassedOn<'a>(&'a Lab);

impl<'a> PassedOn<'a> {
    fn by(lab: &'a Lab) -> Self {
        let counter = Self(lab);
        // A redirect would lead the node past the router.
        counter.sh("echo 0 | tee /proc/sys/net/ipv4/conf/{all,eth0}/send_redirects
            nft 'table inet seen { chain passed { type filter hook forward priority 0; tcp sport 15360-26339 counter; }; }'");
        counter
    }

    fn sh(&self, script: &str) -> String {
        let router = namespace(self.0, "router");
        run(&["ip", "netns", "exec", router.name(), "bash", "-ec", script]).unwrap()
    }

    /// So many packets while clients make requests.
    fn while_running(&self, load: &Load) -> u64 {
        let count = || -> u64 {
            let rules = self.sh("nft list table inet seen");
            let words: Vec<_> = rules.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "packets").unwrap();
            words[at + 1].parse().unwrap()
        };
        let before = count();
        load.more(10);
        count() - before
    }
}

/// Waits until the programs know of the way by the router, or of the one without; and sees that they keep to it.
fn await_way(lab: &Lab, by_router: bool, passed_on: impl Fn() -> u64) {
    lead(lab, by_router);
    let holds = || match passed_on() {
        passed_on if (passed_on > 0) == by_router => Ok(()),
        passed_on => Err(format!("{passed_on} packets by the router")),
    };
    eventually(SOON, &format!("by the router: {by_router}"), holds).unwrap();
    for _ in 0..3 {
        assert_eq!(holds(), Ok(()));
    }
}

#[test]
fn to_a_neighbour_no_route_is_looked_up_and_a_route_that_changes_is_followed() {
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
    let counter = PassedOn::by(&lab);
    for (family, to) in [("v4", VIP), ("v6", VIP_V6)] {
        let load = Load::with(&lab, family, 1, 4, &["--to", to]);
        let passed_on = || counter.while_running(&load);
        assert_eq!(passed_on(), 0);
        await_way(&lab, true, passed_on);
        await_way(&lab, false, passed_on);
        assert_untouched(&load.stop());
    }
    drop(agent);
    let load = Load::start(&lab, "v4", 1, 4);
    lead(&lab, true);
    assert_eq!(counter.while_running(&load), 0, "nobody is there to tell the programs");
    assert_untouched(&load.stop());
}
