//! Source ports on the way to a master: there are fewer of them than connections in a minute.

use lb_tests::lab::VIP;
use lb_tests::slowness::thinned;

use super::setup::{clients, running};
use crate::common::load::figure;
use crate::common::quiet::alone;

/// Of each client; together more than there are ports towards one master.
const CONNECTS: u32 = 9_000;
/// One in a thousand; without ports that come round it is one in twenty.
const WAITING: u64 = CONNECTS as u64 / 1000;

#[test]
fn ports_come_round_again_and_no_connect_waits_for_one() {
    let _turn = alone();
    let Some((lab, _agent)) = running(1, |_| ()) else { return };
    let count = thinned(CONNECTS).to_string();
    for (who, client) in clients(&lab) {
        let connect = ["connect", "--tcp-only", "--to", VIP, "--count", &count, "--connect-timeout", "190ms"];
        let report = client.client(&connect).unwrap();
        figure(&format!("{who}: {report}"));
        // Hardly any waits for as long as it takes until a SYN is sent again: a port that comes round may meet a master that has not
        // forgotten its last connection.
        assert!(report["failed"].as_u64() <= Some(WAITING), "{who}: {report}");
    }
}
