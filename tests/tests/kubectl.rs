//! kubectl at the virtual address, by name.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::agent::{await_health, fast, named, running};
use common::load::{figure, ms, unix_ms};
use common::quiet::{alone, beside_others};
use common::{SOON, kubeconfig, list};
use lb_tests::pki::Valid;
use lb_tests::process::{Finished, Proc};
use lb_tests::wait::eventually;
use lb_tests::{Lab, preflight};
use serde_json::Value;

/// From the power loss of a master to the end of a watch that hangs on it, kubectl's own end included. By itself it notices
/// after 45 s: Go's HTTP/2 client sends a PING after 30 s of silence and gives it 15.
const KNOWN: Duration = Duration::from_secs(2);

/// Three masters that know each other.
fn lab() -> Option<Lab> {
    if !preflight::ready_for_kubectl().unwrap() {
        return None;
    }
    let lab = Lab::builder().build_or_skip().unwrap()?;
    lab.agent_config(fast).unwrap();
    kubeconfig::write(&lab, Valid::Now);
    list(&lab, &lab.masters().iter().collect::<Vec<_>>());
    Some(lab)
}

/// kubectl, as somebody on the node runs it: it finds the name in the hosts file that the agent keeps.
fn words(lab: &Lab, arguments: &[&str]) -> Vec<String> {
    let script = format!(
        "mount --bind {} /etc/hosts && exec kubectl --cache-dir={} --kubeconfig={} \"$@\"",
        lab.hosts_file().display(),
        lab.dir().join("kubectl").display(),
        kubeconfig::path(lab).display(),
    );
    let entered = ["--mount", "sh", "-c", &script, "kubectl"];
    entered.iter().chain(arguments).map(|&word| word.to_owned()).collect()
}

fn spawn(lab: &Lab, arguments: &[&str]) -> Proc {
    lab.node().spawn(Path::new("unshare"), &words(lab, arguments)).unwrap()
}

fn kubectl(lab: &Lab, arguments: &[&str]) -> Finished {
    spawn(lab, arguments).wait_deadline(SOON).unwrap()
}

#[test]
fn kubectl_finds_version_resources_and_nodes_by_the_name_in_the_hosts_file() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let _agent = running(&lab);
    named(&lab);
    let version: Value =
        serde_json::from_str(&kubectl(&lab, &["version", "-o", "json"]).success().unwrap()).unwrap();
    assert_eq!(version["serverVersion"]["gitVersion"], "v1.34.2", "{version}");
    let nodes = kubectl(&lab, &["get", "nodes", "-o", "name"]).success().unwrap();
    assert_eq!(nodes, "node/node-192-168-77-2\nnode/node-192-168-77-3\nnode/node-192-168-77-4\n");
    let table = kubectl(&lab, &["get", "nodes"]).success().unwrap();
    assert!(table.contains("NAME") && table.contains("node-192-168-77-4"), "{table}");
    let resources = kubectl(&lab, &["api-resources", "--no-headers", "-o", "name"]).success().unwrap();
    assert_eq!(resources, "endpoints\nnodes\nendpointslices.discovery.k8s.io\n");
    assert_eq!(kubectl(&lab, &["get", "--raw", "/readyz"]).success().unwrap(), "ok");
}

#[test]
fn kubectl_without_a_certificate_that_is_accepted_is_told_so() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let _agent = running(&lab);
    named(&lab);
    kubeconfig::write(&lab, Valid::NoLonger);
    let refused = kubectl(&lab, &["get", "--raw", "/api/v1/nodes"]);
    assert_eq!(refused.code(), 1);
    assert!(
        refused.stderr.contains("Unauthorized") || refused.stderr.contains("logged in"),
        "{}",
        refused.stderr
    );
}

/// Requests for nodes, which master `index` has had.
fn asked(lab: &Lab, index: usize) -> u64 {
    lab.master(index).stats().unwrap()["requests"]["/api/v1/nodes"].as_u64().unwrap_or(0)
}

#[test]
fn a_watch_of_kubectl_ends_soon_after_its_masters_power_is_lost_and_the_next_one_goes_on() {
    let _turn = alone();
    let Some(lab) = lab() else { return };
    let agent = running(&lab);
    named(&lab);
    let mut watch = spawn(&lab, &["get", "nodes", "--watch", "-o", "name"]);
    let holder = eventually(SOON, "a master has the watch", || {
        let holder = (0..3).find(|&index| asked(&lab, index) == 2);
        holder.filter(|_| watch.stdout().lines().count() == 3).ok_or_else(|| watch.stdout() + &watch.stderr())
    })
    .unwrap();
    list(&lab, &[lab.master(0), lab.master(1)]);
    eventually(SOON, "it tells of two changes", || {
        let said = watch.stdout();
        if said.lines().count() == 5 { Ok(()) } else { Err(said) }
    })
    .unwrap();

    let lost = unix_ms();
    lab.master(holder).cut().unwrap();
    watch.wait_deadline(SOON).unwrap();
    let after = unix_ms() - lost;
    figure(&format!("kubectl knew {after} ms after the power loss"));
    assert!(after <= ms(KNOWN), "{after} ms");
    await_health(&agent, lab.master(holder).address(), "dead", SOON);
    for _ in 0..5 {
        kubectl(&lab, &["get", "nodes", "-o", "name"]).success().unwrap();
    }
    let mut watch = spawn(&lab, &["get", "nodes", "--watch", "-o", "name"]);
    eventually(SOON, "a new watch lists", || {
        let said = watch.stdout();
        if said.lines().count() == 2 { Ok(()) } else { Err(said + &watch.stderr()) }
    })
    .unwrap();
    assert!(watch.is_running().unwrap());
}
