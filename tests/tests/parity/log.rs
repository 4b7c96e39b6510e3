//! What the kernel programs tell.

use lb_tests::lab::VIP;
use lb_tests::wait::eventually;

use super::setup::Setup;
use crate::common::SOON;
use crate::common::agent::{all_up, running};
use crate::common::load::{requests, syn};
use crate::common::quiet::beside_others;

/// Nothing, unless they are told to tell each decision.
pub fn kernel_log(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(1) else { return };
    let mut silent = running(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 3).ok(), 3);
    assert!(!silent.log().contains("connect4"), "{}", silent.log());
    silent.kill().unwrap();

    let telling = lab.spawn_agent(&["--bpf-log", "debug", "--log-level", "debug"]).unwrap();
    all_up(&lab, &telling);
    eventually(SOON, "a decision is told", || {
        let (result, _) = syn(lab.node(), VIP);
        let log = telling.log();
        let told = log.contains("connect4 10.103.97.2 -> 192.168.77.2");
        if told { Ok(()) } else { Err(format!("{result}, and in the log {log}")) }
    })
    .unwrap();
}
