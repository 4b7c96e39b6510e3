//! Pods behind a bridge of the node's: what the node forwards, from a network that the masters do not know.

use lb_tests::Lab;
use lb_tests::lab::{Dataplane, VIP};
use serde_json::json;

use super::kernel::expect_kernel;
use super::setup::{Setup, in_turn};
use crate::common::SOON;
use crate::common::agent::{await_health, running};
use crate::common::load::{ms, requests};
use crate::common::opened;
use crate::common::quiet::beside_others;
use std::time::Duration;

/// A refusal or an unreachable network, not silence.
const AT_ONCE: Duration = Duration::from_millis(100);

fn lab(setup: Setup, scope: &str) -> Option<Lab> {
    let lab = setup.builder().masters(2).pod_behind_node().build_or_skip().unwrap()?;
    lab.agent_config(|config| {
        in_turn(config);
        config["scope"] = scope.into();
    })
    .unwrap();
    Some(lab)
}

/// A dataplane that rewrites the address in connect() leaves the pod's source address as it is. What the masters can
/// answer is then the network plugin's business, as for every other connection of a pod.
fn masquerade_as_a_network_plugin(lab: &Lab) {
    let rules = "table inet cni {\nchain postrouting {\ntype nat hook postrouting priority srcnat\n\
                 iifname cni0 oifname eth0 masquerade\n}\n}";
    lab.node().run(&["nft", rules]).unwrap().success().unwrap();
}

/// With scope `node` a pod reaches the masters, and a connection that it holds ends when its master dies.
pub fn pod(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = lab(setup, "node") else { return };
    match setup.dataplane {
        Dataplane::Socket | Dataplane::SocketAndPacket => masquerade_as_a_network_plugin(&lab),
        Dataplane::Ipvs | Dataplane::Packet | Dataplane::Unsaid => {}
    }
    let agent = running(&lab);
    let (m1, m2) = (lab.master(0), lab.master(1));
    for family in ["v4", "mapped"] {
        let report = requests(lab.pod(), VIP, family, 10);
        assert_eq!(report.raw["served"], json!({"m1": 5, "m2": 5}), "{family}: {report:?}");
        assert_eq!(report.raw["peers"], json!({VIP: 10}), "{family}: {report:?}");
    }
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10, "the node itself is served too");
    let mut watches = ["v4", "mapped"].map(|family| {
        let watch = lab.pod().spawn_client(&["hold", "--to", VIP, "--family", family]).unwrap();
        opened(&watch);
        watch
    });
    m1.cut().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    expect_kernel(&lab, &[(m2, 1)]);
    let of_dead = watches.iter_mut().find(|watch| watch.stdout().contains(" m1\n")).unwrap();
    let ended = of_dead.process().wait_deadline(SOON).unwrap().stdout;
    assert!(ended.contains("ended ECONNABORTED"), "{ended}");
    let of_living = watches.iter().find(|watch| watch.stdout().contains(" m2\n")).unwrap();
    assert!(!of_living.stdout().contains("ended"), "{}", of_living.stdout());
    assert_eq!(requests(lab.pod(), VIP, "v4", 10).raw["served"], json!({"m2": 10}));
}

/// With scope `host` a pod's connect fails at once, rather than hang on a master that cannot answer it.
pub fn scope_host(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = lab(setup, "host") else { return };
    let _agent = running(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 4).ok(), 4);
    let report = lab.pod().client(&["syn", "--to", VIP, "--connect-timeout", "5s"]).unwrap();
    let refusals = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"];
    assert!(refusals.contains(&report["result"].as_str().unwrap()), "{report}");
    assert!(report["ms"].as_i64() <= Some(ms(AT_ONCE)), "{report}");
}
