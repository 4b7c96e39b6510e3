//! Which dataplane an agent takes that is told none.

use std::fs;
use std::path::Path;

use lb_tests::Lab;
use lb_tests::binaries;
use lb_tests::command::run;
use lb_tests::lab::VIP;
use lb_tests::wait::eventually;
use serde_json::Value;

use super::setup::{Setup, await_connect};
use crate::common::SOON;
use crate::common::agent::{running, status};
use crate::common::load::requests;
use crate::common::quiet::beside_others;

/// Socket comes first.
pub fn prefers_socket(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(1) else { return };
    let _agent = running(&lab);
    let dataplane = status(&lab)["dataplane"].clone();
    assert_eq!(
        (&dataplane["kind"], &dataplane["effective"]),
        (&"socket".into(), &true.into()),
        "{dataplane}"
    );
    assert_eq!(requests(lab.node(), VIP, "v4", 4).ok(), 4);
}

/// Where no cgroup v2 is mounted, IPVS is taken, and status says why.
pub fn takes_ipvs_without_cgroup2(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.builder().masters(1).build_or_skip().unwrap() else { return };
    lab.agent_config(|config| {
        super::setup::in_turn(config);
        config["cgroup"] = "auto".into();
    })
    .unwrap();
    let script = r#"for mount in $(awk '$3 == "cgroup2" { print $2 }' /proc/mounts); do umount -l "$mount"; done; exec "$@""#;
    let (lbctl, config) = (binaries::lbctl().unwrap(), lab.config_file());
    let run = [lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "run"];
    let words = [&["--mount", "sh", "-c", script, "sh"][..], &run].concat();
    let agent = lab.node().spawn(Path::new("unshare"), &words).unwrap();
    let dataplane = eventually(SOON, "the agent says what it took", || {
        status_of(&lab).map_err(|error| format!("{error}; its log: {}", agent.stderr()))
    })
    .unwrap();
    assert_eq!(dataplane["kind"], "ipvs", "{dataplane}");
    let why = dataplane["why"].as_str().unwrap();
    assert!(why.contains("socket") && why.contains("cgroup"), "{dataplane}");
    await_connect(&lab, VIP, "the service is reached", SOON);
    assert_eq!(requests(lab.node(), VIP, "v4", 4).ok(), 4);
}

/// The kernel has no IPVS and loads none: exit code 4, and the remedy names the module and `auto`.
pub fn exits_4_without_ipvs(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.builder().masters(1).build_or_skip().unwrap() else { return };
    let _without = WithoutIpvs::new();
    lab.agent_config(|config| config["dataplane"] = "ipvs".into()).unwrap();
    let refused = lab.lbctl(&["run"]).unwrap();
    assert_eq!(refused.code(), 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("modprobe ip_vs"), "{}", refused.stderr);
    assert!(refused.stderr.contains("dataplane to auto"), "{}", refused.stderr);
    let loaded = fs::read_to_string("/proc/modules").unwrap();
    assert!(!loaded.contains("ip_vs"), "{loaded}");
}

/// Takes IPVS away from the kernel, which gets it back when this is dropped and somebody asks for it.
pub(super) struct WithoutIpvs {
    modprobe: String,
}

/// What the kernel runs to load a module, Documentation/admin-guide/sysctl/kernel.rst.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";

impl WithoutIpvs {
    pub(super) fn new() -> Self {
        let modprobe = fs::read_to_string(MODPROBE).unwrap();
        fs::write(MODPROBE, "/bin/false").unwrap();
        let own = Self { modprobe };
        let unload =
            "for module in $(awk '/^ip_vs_/ { print $1 }' /proc/modules) ip_vs; do rmmod $module; done";
        // Namespaces that were just deleted use it a moment longer.
        eventually(SOON, "IPVS is unloaded", || {
            // What rmmod says of a module that is not loaded does not matter.
            let _ = run(&["sh", "-c", unload]);
            let loaded = fs::read_to_string("/proc/modules").unwrap();
            if loaded.contains("ip_vs") { Err(loaded) } else { Ok(()) }
        })
        .unwrap();
        own
    }
}

impl Drop for WithoutIpvs {
    fn drop(&mut self) {
        fs::write(MODPROBE, self.modprobe.trim()).unwrap();
    }
}

fn status_of(lab: &Lab) -> Result<Value, String> {
    let done = lab.lbctl(&["status", "-o", "json"]).and_then(|done| done.success());
    let text = done.map_err(|error| format!("{error:#}"))?;
    let status: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(status["dataplane"].clone())
}
