//! A running node moves from one dataplane to another.

use std::thread::sleep;
use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::Dataplane;
use lb_tests::wait::eventually;
use serde_json::json;

use super::kernel::ipvs;
use super::setup::{CLIENTS, Setup, in_turn};
use crate::common::SOON;
use crate::common::agent::{running, status};
use crate::common::load::{Load, assert_untouched};
use crate::common::quiet::alone;

const HELD: u32 = 2;

/// Long enough for the agent to see a new configuration, and so short that it may still be moving.
const MOVING: Duration = Duration::from_millis(150);

/// From socket to IPVS and back by a change of the configuration, under load: no new connection fails, and what the one
/// left behind is gone from the kernel. So also where the configuration changes back at once. Held
/// connections go on, and what they hang on can be returned to.
pub fn switch(setup: Setup) {
    let _turn = alone();
    let Some(lab) = setup.lab(2) else { return };
    configure(&lab, Dataplane::Socket);
    let _agent = running(&lab);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(20);
    for dataplane in [Dataplane::Ipvs, Dataplane::Socket] {
        configure(&lab, dataplane);
        in_force(&lab, dataplane);
        load.more(40);
    }
    configure(&lab, Dataplane::Ipvs);
    sleep(MOVING);
    configure(&lab, Dataplane::Socket);
    load.more(40);
    let report = load.stop();
    assert_untouched(&report);
    in_force(&lab, Dataplane::Socket);
    eventually(SOON, "nothing is left of IPVS", || {
        let services = ipvs(&lab)?;
        let rules = lab.node().run(&["nft", "list", "ruleset"]).unwrap().stdout;
        let routes = lab.node().run(&["ip", "route", "show", "table", "local"]).unwrap().stdout;
        let gone = services.is_empty() && !rules.contains("lbctl") && !routes.contains("10.103.97.2");
        if gone { Ok(()) } else { Err(format!("{services:?}\n{rules}\n{routes}")) }
    })
    .unwrap();
}

/// From socket to packet, to both at once and back, under load: as [`switch`].
pub fn switch_to_packet(setup: Setup) {
    let _turn = alone();
    let Some(lab) = setup.lab(2) else { return };
    configure(&lab, Dataplane::Socket);
    let _agent = running(&lab);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(20);
    for dataplane in [setup.dataplane, Dataplane::SocketAndPacket, setup.dataplane, Dataplane::Socket] {
        configure(&lab, dataplane);
        in_force(&lab, dataplane);
        load.more(40);
    }
    configure(&lab, setup.dataplane);
    sleep(MOVING);
    configure(&lab, Dataplane::Socket);
    load.more(40);
    let report = load.stop();
    assert_untouched(&report);
    in_force(&lab, Dataplane::Socket);
}

fn configure(lab: &Lab, dataplane: Dataplane) {
    lab.agent_config(|config| {
        in_turn(config);
        config["dataplane"] = dataplane.value().unwrap();
    })
    .unwrap();
}

fn in_force(lab: &Lab, dataplane: Dataplane) {
    let kinds = json!(dataplane.names());
    eventually(SOON, &format!("{kinds} is in force"), || {
        let now = status(lab)["dataplane"].clone();
        if now["kinds"] == kinds && now["effective"] == true { Ok(()) } else { Err(now.to_string()) }
    })
    .unwrap();
}
