//! The fixtures themselves, without lbctl: what a scenario builds on must hold before a scenario can mean anything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::wires::{counted, namespace};
use common::{SOON, connect, failure, lab, watches};
use lb_tests::Lab;
use lb_tests::lab::leftovers;
use lb_tests::wait::eventually;
use serde_json::{Value, json};

#[test]
fn the_client_connects_with_every_kind_of_socket() {
    let Some(lab) = lab(1) else { return };
    let (v4, v6) = (lab.master(0).address(), lab.master(0).address_v6());
    for (family, address) in [("v4", v4), ("mapped", v4), ("v6", v6)] {
        let report = connect(&lab, family, address);
        assert_eq!(report["ok"], 1, "{report}");
        assert_eq!(report["served"], json!({"m1": 1}));
        assert_eq!(report["peers"], json!({address.to_string(): 1}));
        let bare = lab
            .node()
            .client(&[
                "connect",
                "--tcp-only",
                "--count",
                "3",
                "--family",
                family,
                "--to",
                &address.to_string(),
            ])
            .unwrap();
        assert_eq!((&bare["ok"], &bare["peers"]), (&json!(3), &json!({address.to_string(): 3})));
    }
}

#[test]
fn commands_in_the_node_belong_to_its_cgroup() {
    let Some(lab) = lab(0) else { return };
    let cgroup = lab.node().run(&["cat", "/proc/self/cgroup"]).unwrap().success().unwrap();
    assert!(cgroup.contains(&format!("0::/{}\n", lab.name().role("node"))), "{cgroup}");
}

#[test]
fn a_killed_master_refuses_and_serves_again_after_a_start() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    master.kill().unwrap();
    assert_eq!(failure(&lab, "v4", master.address()), "ECONNREFUSED");
    assert_eq!(failure(&lab, "mapped", master.address()), "ECONNREFUSED");
    master.start().unwrap();
    assert_eq!(connect(&lab, "v4", master.address())["ok"], 1);
}

#[test]
fn a_stopped_master_accepts_but_stays_silent_until_it_continues() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    master.stop().unwrap();
    assert_eq!(failure(&lab, "v4", master.address()), "timeout");
    master.cont().unwrap();
    assert_eq!(connect(&lab, "v4", master.address())["ok"], 1);
}

#[test]
fn connects_to_a_cut_master_hang_until_it_is_mended() {
    let Some(lab) = lab(2) else { return };
    let master = lab.master(0);
    master.cut().unwrap();
    for (family, address) in [("v4", master.address()), ("v6", master.address_v6())] {
        // Longer than the three seconds after which an unanswered ARP request would end the connect.
        let report = lab
            .node()
            .client(&["syn", "--to", &address.to_string(), "--family", family, "--connect-timeout", "4s"])
            .unwrap();
        assert_eq!(report["result"], "connect-timeout", "{report}");
    }
    assert_eq!(connect(&lab, "v4", lab.master(1).address())["ok"], 1, "the others stay reachable");
    master.mend().unwrap();
    assert_eq!(connect(&lab, "v4", master.address())["ok"], 1);
}

#[test]
fn a_connection_survives_a_short_cut_of_the_link() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let to = master.address().to_string();
    let load = lab.node().spawn_client(&["load", "--to", &to, "--clients", "0", "--held", "1"]).unwrap();
    watches(master, 1);
    master.cut().unwrap();
    assert_eq!(failure(&lab, "v4", master.address()), "connect-timeout");
    master.mend().unwrap();
    assert_eq!(connect(&lab, "v4", master.address())["ok"], 1);
    let held = load.stop().unwrap()["held"].clone();
    assert_eq!((&held["open"], &held["broken"]), (&json!(1), &json!(0)), "{held}");
    assert!(held["maxGapMs"].as_u64() >= Some(400), "the cut silenced the stream: {held}");
}

#[test]
fn load_counts_servers_errors_and_broken_streams() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let to = master.address().to_string();
    let arguments = ["load", "--to", &to, "--clients", "4", "--held", "2", "--progress", "50ms"];
    let load = lab.node().spawn_client(&arguments).unwrap();
    let seen = |what: &'static str, field: &'static str| {
        eventually(SOON, what, || {
            let stdout = load.stdout();
            let last: Value = stdout
                .lines()
                .rev()
                .find_map(|line| serde_json::from_str(line).ok())
                .ok_or("no progress yet")?;
            if last[field].as_u64() > Some(20) { Ok(()) } else { Err(last.to_string()) }
        })
        .unwrap();
    };
    seen("requests succeed", "ok");
    watches(master, 2);
    master.kill().unwrap();
    seen("requests fail", "failed");
    let report = load.stop().unwrap();
    assert_eq!(report["served"]["m1"], report["ok"], "{report}");
    assert!(report["errors"]["ECONNREFUSED"]["count"].as_u64() > Some(10), "{report}");
    assert_eq!((&report["held"]["open"], &report["held"]["broken"]), (&json!(0), &json!(2)), "{report}");
    assert!(report["lastServedMs"]["m1"].as_u64() <= report["held"]["brokenAtMs"][0].as_u64(), "{report}");
}

#[test]
fn two_labs_live_side_by_side_with_the_same_addresses() {
    let (Some(one), Some(two)) = (lab(1), lab(1)) else { return };
    one.master(0).kill().unwrap();
    assert_eq!(failure(&one, "v4", one.master(0).address()), "ECONNREFUSED");
    assert_eq!(connect(&two, "v4", two.master(0).address())["ok"], 1);
}

#[test]
fn the_local_master_serves_on_the_node() {
    let Some(lab) = Lab::builder().masters(1).local_master().build_or_skip().unwrap() else { return };
    let local = &lab.masters()[1];
    assert_eq!(local.address().ip(), lab.node().host().v4());
    assert_eq!(connect(&lab, "v4", local.address())["served"], json!({"local": 1}));
}

#[test]
fn a_pod_is_in_the_nodes_cgroup_and_has_a_network_namespace_of_its_own() {
    let Some(lab) = Lab::builder().masters(1).pod().build_or_skip().unwrap() else { return };
    let cgroup = lab.pod().run(&["cat", "/proc/self/cgroup"]).unwrap().success().unwrap();
    assert!(cgroup.contains(&format!("0::/{}\n", lab.name().role("node"))), "{cgroup}");
    let to = lab.master(0).address().to_string();
    let whoami = lab.pod().curl(&[&format!("https://{to}/whoami")]).unwrap().success().unwrap();
    assert!(whoami.contains(r#""peer":"192.168.77.11:"#), "{whoami}");
}

#[test]
fn forwarded_clients_are_outside_the_nodes_cgroup_and_unknown_to_the_masters() {
    let builder = Lab::builder().masters(1).local_master().vm().outsider();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let (m1, local) = (lab.master(0), lab.master(1));
    for client in [lab.vm(), lab.outsider()] {
        let cgroup = client.run(&["cat", "/proc/self/cgroup"]).unwrap().success().unwrap();
        assert!(cgroup.contains(&format!("0::/{}\n", lab.name().role("outside"))), "{cgroup}");
        let reach = |to: String, family| {
            let short = ["--to", &to, "--family", family, "--connect-timeout", "500ms"];
            client.client(&[&["connect"][..], &short].concat()).unwrap()
        };
        assert_eq!(reach(local.address().to_string(), "v4")["ok"], 1, "the node itself answers");
        assert_eq!(reach(local.address_v6().to_string(), "v6")["ok"], 1, "the node itself answers");
        let report = reach(m1.address().to_string(), "v4");
        // Linux says so itself: the master has no way back.
        assert_eq!(report["errors"]["connect-timeout"]["count"], 1, "{report}");
    }
    lab.unplug_vm().unwrap();
    assert!(lab.node().run(&["ip", "link", "show", "tap0"]).unwrap().code() != 0);
    lab.plug_vm().unwrap();
    let to = local.address().to_string();
    let report = lab.vm().client(&["connect", "--to", &to, "--connect-timeout", "5s"]).unwrap();
    assert_eq!(report["ok"], 1, "{report}");
}

/// Both bodies arrived.
fn assert_bulk(report: &Value) {
    for direction in ["up", "down"] {
        let parts = report[direction].as_array().unwrap();
        assert!(!parts.is_empty() && parts.iter().all(|part| part["server"].is_string()), "{report}");
    }
}

#[test]
fn large_bodies_reach_masters_beside_and_behind_a_router_whatever_the_wires() {
    for builder in [Lab::builder(), Lab::builder().checked_wires().real_neighbours().strict_rp_filter()] {
        let Some(lab) = builder.masters(1).routed_masters(1).build_or_skip().unwrap() else { return };
        lab.set_far_mtu(1280).unwrap();
        for master in lab.masters() {
            for (family, to) in [("v4", master.address()), ("v6", master.address_v6())] {
                let bulk = ["bulk", "--to", &to.to_string(), "--family", family];
                assert_bulk(&lab.node().client(&bulk).unwrap());
            }
        }
        for counter in ["Icmp6OutPktTooBigs", "IcmpOutDestUnreachs"] {
            assert!(
                counted(namespace(&lab, "router"), counter) > 0,
                "the router tells that packets are too long"
            );
        }
        for counter in ["Icmp6InPktTooBigs", "IcmpInDestUnreachs"] {
            assert!(counted(lab.node().host().netns(), counter) > 0, "the node is told");
        }
        assert_eq!(common::wires::checksum_errors(&lab), Vec::<String>::new());
    }
}

#[test]
fn wires_that_check_find_a_wrong_checksum_and_others_do_not() {
    // In place of the sum over the addresses, with which the kernel would have completed it.
    let rules = "table ip wrong {\nchain output {\ntype route hook output priority mangle\n\
                 tcp dport 6443 tcp checksum set 0x1234\n}\n}";
    for (builder, result) in
        [(Lab::builder(), "connected"), (Lab::builder().checked_wires(), "connect-timeout")]
    {
        let Some(lab) = builder.masters(1).build_or_skip().unwrap() else { return };
        lab.node().run(&["nft", rules]).unwrap().success().unwrap();
        let to = lab.master(0).address().to_string();
        let report = lab.node().client(&["syn", "--to", &to]).unwrap();
        assert_eq!(report["result"], result, "{report}");
        let found = common::wires::checksum_errors(&lab);
        // Kernels differ in which of the others' checksums they do believe.
        assert!(result == "connected" || !found.is_empty(), "they are counted");
    }
}

#[test]
fn a_cut_master_whose_neighbours_are_real_is_unreachable() {
    let Some(lab) = Lab::builder().masters(1).real_neighbours().build_or_skip().unwrap() else { return };
    let to = lab.master(0).address().to_string();
    lab.master(0).cut().unwrap();
    let report = lab.node().client(&["syn", "--to", &to, "--connect-timeout", "10s"]).unwrap();
    assert_eq!(report["result"], "EHOSTUNREACH", "{report}");
}

#[test]
fn a_flood_is_made_of_syns_that_nobody_follows_up() {
    let Some(lab) = lab(1) else { return };
    let to = lab.master(0).address().to_string();
    let before = lab.master(0).stats().unwrap()["accepted"].clone();
    let report = lab.node().client(&["flood", "--to", &to, "--count", "1000"]).unwrap();
    assert_eq!(report["sent"], 1000, "{report}");
    let snmp = lab.master(0).host().netns().read(&["/proc/net/snmp"]).unwrap();
    assert!(snmp.lines().filter(|line| line.starts_with("Tcp: ")).count() == 2, "{snmp}");
    assert_eq!(lab.master(0).stats().unwrap()["accepted"], before, "none becomes a connection");
    assert_eq!(connect(&lab, "v4", lab.master(0).address())["ok"], 1);
}

#[test]
fn the_agents_configuration_stays_inside_the_lab() {
    let Some(lab) = Lab::builder().masters(2).not_started().build_or_skip().unwrap() else { return };
    let path = lab.agent_config(|yaml| yaml["services"][0]["health"]["interval"] = "200ms".into()).unwrap();
    let yaml: serde_yaml::Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(yaml["services"][0]["health"]["interval"], "200ms");
    assert_eq!(yaml["services"][0]["backends"][1], "192.168.77.3:6443");
    for path in [&yaml["bpffs"], &yaml["stateDir"], &yaml["hosts"]["path"], &yaml["admin"]["socket"]] {
        assert!(path.as_str().unwrap().starts_with(lab.dir().to_str().unwrap()), "{path:?}");
    }
    assert!(std::fs::create_dir(lab.pins()).is_ok(), "the bpffs takes directories");
}

#[test]
fn nothing_is_left_of_a_lab_even_when_the_test_panics() {
    let Some(lab) = lab(2) else { return };
    let name = lab.name().clone();
    assert!(leftovers(&name).unwrap().len() >= 6, "4 namespaces, a cgroup, a mount, a directory");
    lab.master(0).stop().unwrap();
    lab.master(1).cut().unwrap();
    let to = lab.master(0).address().to_string();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _hold = lab.node().spawn_client(&["hold", "--to", &to]).unwrap();
        // Outside every guard: the lab itself must find it.
        let _stray = lab.node().run(&["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"]).unwrap();
        panic!("a failing test");
    }));
    assert!(panicked.is_err());
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}
