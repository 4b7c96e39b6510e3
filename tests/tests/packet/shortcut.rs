//! Segments of open connections that pass by the node's stack, and who may be there for them not to.

use lb_tests::Lab;
use lb_tests::lab::VIP;
use lb_tests::wait::eventually;

use super::setup::{Yaml, builder, forwarded, in_turn, started};
use super::tcx::{Foreign, has_tcx};
use crate::common::SOON;
use crate::common::agent::{status, unhurried};
use crate::common::load::{Load, figure};
use crate::common::quiet::alone;
use crate::common::wires::{checksum_errors, counted};

/// 1 MiB in each direction is this many packets at least where a sender makes one of each frame; on their way some are joined.
const FRAMES: u64 = 700;
/// What goes the long way of a connection: how it begins and ends, and a segment every second.
const FEW: u64 = 100;

/// A lab whose wires carry no packets of several segments.
fn lab(change: impl FnOnce(&mut Yaml)) -> Option<Lab> {
    let lab = builder().masters(2).checked_wires().build_or_skip().unwrap()?;
    lab.agent_config(|config| {
        in_turn(config);
        unhurried(config);
        change(config);
    })
    .unwrap();
    Some(lab)
}

/// How many packets the node's stack forwards while each client exchanges 1 MiB with a master in each direction.
fn forwarded_by_stack(lab: &Lab) -> Vec<u64> {
    let count = || counted(lab.node().host().netns(), "IpForwDatagrams");
    let each = forwarded(lab).map(|(who, client)| {
        let before = count();
        let report = client.client(&["bulk", "--to", VIP, "--family", "v4"]).unwrap();
        assert!(report["up"][0]["server"].is_string(), "{who}: {report}");
        assert!(report["down"][0]["server"].is_string(), "{who}: {report}");
        count() - before
    });
    figure(&format!("{each:?} packets forwarded by the stack"));
    each.into()
}

#[track_caller]
fn pass_by(lab: &Lab) {
    await_status(lab, "\"on\"");
    assert!(forwarded_by_stack(lab).iter().all(|packets| *packets < FEW));
}

#[track_caller]
fn go_the_long_way(lab: &Lab, said: &str) {
    await_status(lab, said);
    assert!(forwarded_by_stack(lab).iter().all(|packets| *packets > FRAMES));
}

/// What the agent says of it.
#[track_caller]
fn await_status(lab: &Lab, said: &str) {
    eventually(SOON, said, || {
        let status = status(lab).to_string();
        let at = status.find("\"shortcut\"").map(|at| status.split_at(at).1);
        if at.is_some_and(|fact| fact.contains(said)) { Ok(()) } else { Err(status) }
    })
    .unwrap();
}

#[test]
fn segments_pass_by_the_stack_while_nobody_there_would_miss_them() {
    let _turn = alone();
    let Some(lab) = lab(|_| ()) else { return };
    let agent = started(&lab);
    let loads = forwarded(&lab).map(|(_, client)| Load::on(&lab, client, "v4", 0, 4));
    pass_by(&lab);
    let node = |command: &[&str]| lab.node().run(command).unwrap().success().unwrap();
    for (comes, goes, said) in [
        (&["nft", "add table inet theirs"], &["nft", "delete table inet theirs"], "nftables inet theirs"),
        (&["nft", "add table ip6 theirs"], &["nft", "delete table ip6 theirs"], "nftables ip6 theirs"),
        (
            &["sh", "-c", "ip xfrm policy add src 203.0.113.0/24 dst 203.0.113.0/24 dir fwd"],
            &["sh", "-c", "ip xfrm policy flush"],
            "IPsec policies",
        ),
    ] as [(&[&str], &[&str], &str); 3]
    {
        node(comes);
        go_the_long_way(&lab, said);
        node(goes);
        pass_by(&lab);
    }
    // Frames of bridges and ARP are none of ours.
    node(&["nft", "add table bridge theirs"]);
    pass_by(&lab);
    drop(agent);
    // Without an agent it stays as it was.
    assert!(forwarded_by_stack(&lab).iter().all(|packets| *packets < FEW));
    let _agent = started(&lab);
    for load in loads {
        let report = load.stop();
        assert_eq!(report.broken(), 0, "{report:?}");
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

#[test]
fn programs_of_others_behind_ours_see_every_packet() {
    let _turn = alone();
    if !has_tcx() {
        return;
    }
    let Some(lab) = lab(|_| ()) else { return };
    let _agent = started(&lab);
    pass_by(&lab);
    let behind = Foreign::behind(&lab, "tap0");
    go_the_long_way(&lab, "program behind on tap0");
    // The virtual machine sends packets of several segments.
    assert!(u64::from(behind.count()) > FEW, "{}", behind.count());
    drop(behind);
    pass_by(&lab);
}

#[test]
fn switched_off_everything_goes_the_long_way() {
    let _turn = alone();
    let Some(lab) = lab(|config| config["packet"]["shortcut"] = "off".into()) else { return };
    let _agent = started(&lab);
    go_the_long_way(&lab, "\"off\"");
}
