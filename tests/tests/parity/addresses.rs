//! Virtual addresses of the other family, and masters on the node itself.

use lb_tests::Lab;
use lb_tests::lab::{VIP, VIP_V6};
use serde_json::json;

use super::kernel::{Services, expect_kernel, expect_service};
use super::setup::{Setup, in_turn, service, yaml};
use crate::common::SOON;
use crate::common::agent::{all_up, await_health, running};
use crate::common::load::requests;
use crate::common::quiet::beside_others;

/// An IPv6 virtual address before IPv6 masters: balanced, left and found again like any other.
pub fn ipv6(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(2) else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    lab.agent_config(|config| {
        in_turn(config);
        service(config)["vip"] = VIP_V6.into();
        service(config)["backends"] = yaml(json!([m1.address_v6(), m2.address_v6()]));
    })
    .unwrap();
    let agent = lab.start_agent().unwrap();
    for master in [m1, m2] {
        await_health(&agent, master.address_v6(), "up", SOON);
    }
    expect_service(&lab, VIP_V6, &[(m1.address_v6(), 1), (m2.address_v6(), 1)], &Services::new());
    let report = requests(lab.node(), VIP_V6, "v6", 10);
    assert_eq!(report.raw["served"], json!({"m1": 5, "m2": 5}), "{report:?}");
    assert_eq!(report.raw["peers"], json!({VIP_V6: 10}), "{report:?}");
    held_end(&lab);
    await_health(&agent, m1.address_v6(), "dead", SOON);
    expect_service(&lab, VIP_V6, &[(m2.address_v6(), 1)], &Services::new());
    assert_eq!(requests(lab.node(), VIP_V6, "v6", 10).raw["served"], json!({"m2": 10}));
}

/// Two watches, in turn one to each master: the one to the first ends when its link is cut.
fn held_end(lab: &Lab) {
    let watch = ["hold", "--to", VIP_V6, "--family", "v6"];
    let mut clients = [0, 1].map(|_| {
        let client = lab.node().spawn_client(&watch).unwrap();
        crate::common::opened(&client);
        client
    });
    lab.master(0).cut().unwrap();
    let of_first = clients.iter_mut().find(|client| client.stdout().contains(" m1\n")).unwrap();
    let ended = of_first.process().wait_deadline(SOON).unwrap().stdout;
    assert!(ended.contains("ended ECONNABORTED"), "{ended}");
    let of_second = clients.iter().find(|client| client.stdout().contains(" m2\n")).unwrap();
    assert!(!of_second.stdout().contains("ended"), "{}", of_second.stdout());
}

/// On a master whose own apiserver is a backend: it is reached through the virtual address like the others, and when it is
/// down they serve.
pub fn local_backend(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.builder().masters(1).local_master().build_or_skip().unwrap() else { return };
    lab.agent_config(in_turn).unwrap();
    let agent = running(&lab);
    let (m1, local) = (lab.master(0), lab.master(1));
    expect_kernel(&lab, &[(m1, 1), (local, 1)]);
    for family in ["v4", "mapped"] {
        let report = requests(lab.node(), VIP, family, 10);
        assert_eq!(report.raw["served"], json!({"local": 5, "m1": 5}), "{family}: {report:?}");
    }
    local.kill().unwrap();
    await_health(&agent, local.address(), "dead", SOON);
    expect_kernel(&lab, &[(m1, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).raw["served"], json!({"m1": 10}));
    local.start().unwrap();
    all_up(&lab, &agent);
    m1.kill().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    expect_kernel(&lab, &[(local, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).raw["served"], json!({"local": 10}));
}
