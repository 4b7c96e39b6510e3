//! `lbctl cleanup` leaves the node as it was before the first start.

use lb_tests::Lab;
use lb_tests::lab::VIP;

use super::setup::Setup;
use crate::common::agent::{named, running};
use crate::common::load::{requests, syn};
use crate::common::quiet::alone;
use crate::common::traces::Traces;

/// Nothing is left in the kernel, in the hosts file and in the state directory; safe to run twice.
pub fn cleanup(setup: Setup) {
    // The links in `Traces` are those of all labs.
    let _turn = alone();
    let Some(lab) = setup.lab(2) else { return };
    let before = Traces::of(&lab);
    let agent = running(&lab);
    named(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 4).ok(), 4);
    lab.lbctl(&["backends", "drain", &lab.master(0).address().to_string()]).unwrap().success().unwrap();
    let during = Traces::of(&lab);
    assert_ne!(during.hosts, before.hosts);
    assert!(
        during.links != before.links || during.network != before.network,
        "the kernel was programmed: {during:?}"
    );
    drop(agent);
    for round in ["the first", "a second"] {
        clean(&lab);
        assert_eq!(Traces::of(&lab), before, "after {round} cleanup");
    }
    let (result, _) = syn(lab.node(), VIP);
    assert_eq!(result, "ENETUNREACH", "the virtual address is nobody's");
}

fn clean(lab: &Lab) {
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
}
