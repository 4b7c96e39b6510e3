//! Which dataplane `lbctl care` takes in a pod that mounts no BPF file system, as none that sealos writes does.

use lb_tests::Lab;
use lb_tests::lab::VIP;

use super::auto::WithoutIpvs;
use super::setup::{Setup, await_connect};
use crate::common::SOON;
use crate::common::agent::{all_up, status};
use crate::common::care::{clean, started};
use crate::common::load::requests;
use crate::common::quiet::beside_others;

/// On no BPF file system.
fn bare(lab: &Lab) -> String {
    lab.dir().join("bare").to_str().unwrap().to_owned()
}

/// It takes IPVS and with it the service that lvscare left, and that goes on when the pod has ended.
pub fn bare_pod(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.builder().masters(2).build_or_skip().unwrap() else { return };
    let left = ["ipvsadm", "-A", "-t", VIP, "-s", "rr"];
    lab.node().run(&left).unwrap().success().unwrap();
    for master in lab.masters() {
        let server = master.address().to_string();
        let left = ["ipvsadm", "-a", "-t", VIP, "-r", &server, "-m"];
        lab.node().run(&left).unwrap().success().unwrap();
    }
    let agent = started(&lab, &["--bpffs", &bare(&lab)]);
    all_up(&lab, &agent);
    let dataplane = status(&lab)["dataplane"].clone();
    assert_eq!((&dataplane["kind"], &dataplane["effective"]), (&"ipvs".into(), &true.into()), "{dataplane}");
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10);
    drop(agent);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10, "IPVS outlives the pod");
    let ended = clean(&lab, &["--bpffs", &bare(&lab)]).wait(SOON).unwrap();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let services = lab.node().run(&["ipvsadm", "-Sn"]).unwrap().stdout;
    assert_eq!(services, "", "what was taken over from lvscare goes too");
}

/// Where the kernel has no IPVS it takes what there is, and says that this may end with the pod.
pub fn bare_pod_without_ipvs(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.builder().masters(1).build_or_skip().unwrap() else { return };
    let _without = WithoutIpvs::new();
    let agent = started(&lab, &["--bpffs", &bare(&lab)]);
    await_connect(&lab, VIP, "the service is reached", SOON);
    assert_eq!(status(&lab)["dataplane"]["kind"], "socket");
    assert!(agent.log().contains("ipvs cannot be used here"), "{}", agent.log());
    drop(agent);
    let ended = clean(&lab, &["--bpffs", &bare(&lab)]).wait(SOON).unwrap();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}
