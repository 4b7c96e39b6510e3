//! Who gets the connections to the virtual address.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::agent::{all_up, await_serving, backends, fast, named, of_address, running};
use common::load::{Report, figure, requests, syn};
use common::quiet::beside_others;
use common::{SOON, lab};
use lb_tests::Lab;
use lb_tests::lab::{HOSTNAME, VIP, VIP_V6};
use serde_json::json;
use serde_yaml::Value as Yaml;

/// Of all requests, in percent.
fn share(report: &Report, master: &str) -> f64 {
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole as f64;
    percent(report.served(master), report.ok())
}

fn service(yaml: &mut Yaml) -> &mut Yaml {
    &mut yaml["services"][0]
}

fn addresses(lab: &Lab, masters: &[usize]) -> Vec<String> {
    masters.iter().map(|index| lab.master(*index).address().to_string()).collect()
}

fn yaml(value: serde_json::Value) -> Yaml {
    serde_yaml::to_value(value).unwrap()
}

#[test]
fn of_3000_random_requests_each_of_three_masters_serves_between_25_and_42_percent() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let report = requests(lab.node(), VIP, "v4", 3000);
    let shares: Vec<f64> = lab.masters().iter().map(|master| share(&report, master.name())).collect();
    figure(&format!("{} requests by master, in percent {shares:.1?}", report.raw["served"]));
    assert_eq!((report.ok(), report.failed()), (3000, 0), "{report:?}");
    assert!(shares.iter().all(|share| (25.0..=42.0).contains(share)), "{report:?}");
    assert_eq!(report.raw["peers"], json!({VIP: 3000}), "getpeername shows the virtual address");

    let counted = backends(&agent).unwrap();
    for master in lab.masters() {
        let total = of_address(&counted, master.address()).unwrap()["connections"]["total"].clone();
        assert_eq!(total, report.served(master.name()), "the kernel's own count of {}", master.name());
    }
}

#[test]
fn curl_reaches_a_master_by_the_services_name_and_https() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let _agent = running(&lab);
    named(&lab);
    let hosts = lab.hosts_file();
    let ca = lab.pki().ca(lb_tests::pki::Signer::Lab);
    // The node's hosts file in place of this machine's, in a mount namespace that ends with curl.
    let script = r#"mount --bind "$1" /etc/hosts && shift && exec curl -sS --max-time 10 "$@""#;
    let words = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let url = format!("https://{HOSTNAME}:6443/version");
    let curl = ["--cacert", ca.to_str().unwrap(), "-w", "\n%{remote_ip} %{remote_port} %{http_code}", &url];
    let output =
        lab.node().run(&[&words[..], &[hosts.to_str().unwrap()], &curl].concat()).unwrap().success().unwrap();
    assert!(output.contains(r#""gitVersion":"v1."#), "{output}");
    assert!(output.ends_with("\n10.103.97.2 6443 200"), "curl sees the virtual address: {output}");
}

#[test]
fn a_v4_mapped_socket_is_served_like_any_other_and_sees_the_virtual_address() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let _agent = running(&lab);
    let report = requests(lab.node(), VIP, "mapped", 300);
    figure(&report.raw["served"].to_string());
    assert_eq!((report.ok(), report.failed()), (300, 0), "{report:?}");
    assert_eq!(report.raw["peers"], json!({VIP: 300}), "{report:?}");
    for master in lab.masters() {
        assert!(report.served(master.name()) > 50, "{report:?}");
    }
}

#[test]
fn an_ipv6_vip_is_served_by_ipv6_backends() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let backends: Vec<String> = lab.masters().iter().map(|master| master.address_v6().to_string()).collect();
    lab.agent_config(|config| {
        let mut second = service(config).clone();
        second["name"] = "apiserver-v6".into();
        second["vip"] = VIP_V6.into();
        second["backends"] = yaml(json!(backends));
        config["services"].as_sequence_mut().unwrap().push(second);
    })
    .unwrap();
    let agent = running(&lab);
    for master in lab.masters() {
        common::agent::await_health(&agent, master.address_v6(), "up", SOON);
    }
    let v6 = requests(lab.node(), VIP_V6, "v6", 300);
    figure(&v6.raw["served"].to_string());
    assert_eq!((v6.ok(), v6.failed()), (300, 0), "{v6:?}");
    assert_eq!(v6.raw["peers"], json!({VIP_V6: 300}), "{v6:?}");
    for master in lab.masters() {
        assert!(v6.served(master.name()) > 50, "{v6:?}");
    }
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10, "the IPv4 service is served beside it");
    let hosts = named(&lab);
    for address in ["10.103.97.2", "fd00:97::2"] {
        let names = |line: &&str| line.starts_with(address) && line.ends_with(HOSTNAME);
        assert_eq!(hosts.lines().filter(names).count(), 1, "{hosts}");
    }
}

#[test]
fn the_vips_port_may_differ_from_the_backends() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    lab.agent_config(|config| service(config)["vip"] = "10.103.97.2:443".into()).unwrap();
    let _agent = running(&lab);
    let report = requests(lab.node(), "10.103.97.2:443", "v4", 100);
    assert_eq!((report.ok(), &report.raw["peers"]), (100, &json!({"10.103.97.2:443": 100})), "{report:?}");
    let (result, ms) = syn(lab.node(), VIP);
    assert_ne!(result, "connected", "nothing is at {VIP}, after {ms} ms");
}

#[test]
fn addresses_that_are_not_virtual_are_left_alone() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let _agent = running(&lab);
    for master in lab.masters() {
        for (family, address) in
            [("v4", master.address()), ("mapped", master.address()), ("v6", master.address_v6())]
        {
            let report = requests(lab.node(), &address.to_string(), family, 10);
            assert_eq!(report.served(master.name()), 10, "{family}: {report:?}");
            assert_eq!(report.raw["peers"], json!({address.to_string(): 10}), "{family}");
        }
    }
}

#[test]
fn a_backend_of_weight_3_gets_three_quarters_beside_one_of_weight_1() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let [light, heavy] = addresses(&lab, &[0, 1]).try_into().unwrap();
    lab.agent_config(|config| {
        service(config)["backends"] = yaml(json!([light, {"address": heavy, "weight": 3}]));
    })
    .unwrap();
    let _agent = running(&lab);
    let report = requests(lab.node(), VIP, "v4", 1500);
    let heavy = share(&report, "m2");
    figure(&format!("weights 1:3, 1500 requests: {:.1} % and {heavy:.1} %", share(&report, "m1")));
    // Five standard deviations of 1,500 draws are 5.6 points.
    assert!((69.4..=80.6).contains(&heavy), "{report:?}");
}

#[test]
fn round_robin_gives_each_of_three_masters_every_third_connection() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(|config| service(config)["policy"] = "round-robin".into()).unwrap();
    let _agent = running(&lab);
    let report = requests(lab.node(), VIP, "v4", 300);
    figure(&report.raw["served"].to_string());
    assert_eq!(report.raw["served"], json!({"m1": 100, "m2": 100, "m3": 100}), "{report:?}");
}

#[test]
fn two_services_have_backends_of_their_own() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let other = "10.103.97.3:443";
    lab.agent_config(|config| {
        let mut second = service(config).clone();
        second["name"] = "other".into();
        second["vip"] = other.into();
        second["hostname"] = "other.cluster.local".into();
        second["health"]["serverName"] = HOSTNAME.into();
        second["backends"] = yaml(json!(addresses(&lab, &[2])));
        service(config)["backends"] = yaml(json!(addresses(&lab, &[0, 1])));
        config["services"].as_sequence_mut().unwrap().push(second);
    })
    .unwrap();
    let _agent = running(&lab);
    let first = requests(lab.node(), VIP, "v4", 200);
    let second = requests(lab.node(), other, "v4", 50);
    assert_eq!((first.ok(), first.served("m3")), (200, 0), "{first:?}");
    assert!(first.served("m1") > 50 && first.served("m2") > 50, "{first:?}");
    assert_eq!(second.raw["served"], json!({"m3": 50}), "{second:?}");
}

#[test]
fn scope_host_leaves_the_connects_of_pods_alone() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().masters(2).pod().build_or_skip().unwrap() else { return };
    let _agent = running(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 20).ok(), 20);
    // The pod has a route to its own subnet only: what is not rewritten goes nowhere.
    let (result, _) = syn(lab.pod(), VIP);
    assert_eq!(result, "ENETUNREACH");
    let direct = requests(lab.pod(), &lab.master(0).address().to_string(), "v4", 1);
    assert_eq!(direct.ok(), 1, "the pod reaches a master itself: {direct:?}");
}

#[test]
fn scope_node_serves_pods_too() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().masters(2).pod().build_or_skip().unwrap() else { return };
    lab.agent_config(|config| config["scope"] = "node".into()).unwrap();
    let _agent = running(&lab);
    for node in [lab.node(), lab.pod()] {
        for family in ["v4", "mapped"] {
            let report = requests(node, VIP, family, 50);
            assert_eq!((report.ok(), &report.raw["peers"]), (50, &json!({VIP: 50})), "{family}: {report:?}");
        }
    }
}

#[test]
fn prefer_local_uses_the_nodes_own_master_and_the_others_only_while_it_is_down() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().masters(2).local_master().build_or_skip().unwrap() else { return };
    lab.agent_config(|config| {
        fast(config);
        service(config)["prefer"] = "local".into();
    })
    .unwrap();
    let agent = running(&lab);
    let (m1, m2, local) = (lab.master(0), lab.master(1), lab.master(2));
    await_serving(&agent, &[local], SOON);
    let report = requests(lab.node(), VIP, "v4", 50);
    assert_eq!(report.raw["served"], json!({"local": 50}), "{report:?}");
    let listed = of_address(&backends(&agent).unwrap(), local.address()).unwrap();
    assert_eq!(listed["local"], true, "{listed}");

    local.kill().unwrap();
    await_serving(&agent, &[m1, m2], Duration::from_secs(2));
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.served("local")), (100, 0), "{report:?}");

    local.start().unwrap();
    all_up(&lab, &agent);
    await_serving(&agent, &[local], SOON);
    assert_eq!(requests(lab.node(), VIP, "v4", 50).raw["served"], json!({"local": 50}));
}
