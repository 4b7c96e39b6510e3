//! What the agent must be allowed to do so that connections are sent on.

use lb_tests::binaries;

use crate::common::load::figure;
use crate::common::quiet::beside_others;

/// Before this version CAP_PERFMON may be needed as well.
const TWO_ARE_ENOUGH: (u32, u32) = (6, 16);

fn version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn the_programs_that_send_connections_on_load_with_the_capabilities_that_are_named() {
    let _turn = beside_others();
    let Some(lab) = crate::common::lab(1) else { return };
    let config = lab.agent_config(|_| ()).unwrap();
    let lbctl = binaries::lbctl().unwrap();
    for (more, is_enough) in [("", version() >= TWO_ARE_ENOUGH), (",+perfmon", true)] {
        let least = format!("--bounding-set=-all,+bpf,+net_admin{more}");
        let once = [lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "run", "--once"];
        let done =
            lab.node().run(&[&["setpriv", &least, "--inh-caps=-all", "--"], &once[..]].concat()).unwrap();
        assert_eq!(done.code(), 0, "{}", done.stderr);
        let pinned = lab.pins().join("v1/programs/rescue_in");
        figure(&format!("{least}: {}", if pinned.exists() { "loaded" } else { "refused" }));
        assert!(pinned.exists() || !is_enough, "{least}: {}", done.stderr);
        lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    }
}
