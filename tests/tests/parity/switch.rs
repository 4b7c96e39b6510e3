//! A running node moves from one dataplane to another.

use std::thread::sleep;
use std::time::Duration;

use lb_tests::Lab;
use lb_tests::wait::eventually;

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
    configure(&lab, "socket");
    let _agent = running(&lab);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(20);
    for dataplane in ["ipvs", "socket"] {
        configure(&lab, dataplane);
        in_force(&lab, dataplane);
        load.more(40);
    }
    configure(&lab, "ipvs");
    sleep(MOVING);
    configure(&lab, "socket");
    load.more(40);
    let report = load.stop();
    assert_untouched(&report);
    in_force(&lab, "socket");
    eventually(SOON, "nothing is left of IPVS", || {
        let services = ipvs(&lab)?;
        let rules = lab.node().run(&["nft", "list", "ruleset"]).unwrap().stdout;
        let routes = lab.node().run(&["ip", "route", "show", "table", "local"]).unwrap().stdout;
        let gone = services.is_empty() && !rules.contains("lbctl") && !routes.contains("10.103.97.2");
        if gone { Ok(()) } else { Err(format!("{services:?}\n{rules}\n{routes}")) }
    })
    .unwrap();
}

fn configure(lab: &Lab, dataplane: &str) {
    lab.agent_config(|config| {
        in_turn(config);
        config["dataplane"] = dataplane.into();
    })
    .unwrap();
}

fn in_force(lab: &Lab, dataplane: &str) {
    eventually(SOON, &format!("{dataplane} is in force"), || {
        let now = status(lab)["dataplane"].clone();
        if now["kind"] == dataplane && now["effective"] == true { Ok(()) } else { Err(now.to_string()) }
    })
    .unwrap();
}
