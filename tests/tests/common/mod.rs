//! What the tests share: questions to masters here, to the agent in `agent`, lvscare's commands in `care`, who a node is to the apiservers in `kubeconfig`, traffic in `load`,
//! who may run beside whom in `quiet`, what a node looks like in `traces`, what packets met in `wires`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, unreachable_pub, reason = "compiled into each test binary, which uses what it needs")]

pub mod agent;
pub mod care;
pub mod kubeconfig;
pub mod load;
pub mod quiet;
pub mod traces;
pub mod wires;

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{ClientRun, Master};
use lb_tests::wait::eventually;
use serde_json::{Value, json};

/// Far longer than anything here takes.
pub const SOON: Duration = Duration::from_secs(15);

/// A lab of `masters`; `None` only where the user allowed skipping.
pub fn lab(masters: u8) -> Option<Lab> {
    Lab::builder().masters(masters).build_or_skip().unwrap()
}

/// Has every master that runs list these as the cluster's apiservers.
pub fn list(lab: &Lab, listed: &[&Master]) {
    let addresses: Vec<_> = listed.iter().map(|master| master.address().to_string()).collect();
    for master in lab.masters().iter().filter(|master| master.pid().is_some()) {
        master.control(&format!("/cluster/{}", addresses.join(","))).unwrap();
    }
}

pub fn url(master: &Master, path: &str) -> String {
    format!("https://{}{path}", master.address())
}

/// One connection straight to `address`, with deadlines that a busy machine keeps.
pub fn connect(lab: &Lab, family: &str, address: impl ToString) -> Value {
    let to = address.to_string();
    lab.node().client(&["connect", "--to", &to, "--family", family, "--connect-timeout", "5s"]).unwrap()
}

/// How one connection straight to `address` fails, with deadlines that make a hang short.
pub fn failure(lab: &Lab, family: &str, address: impl ToString) -> String {
    let to = address.to_string();
    let short = ["--connect-timeout", "500ms", "--timeout", "500ms"];
    let report =
        lab.node().client(&[&["connect", "--to", &to, "--family", family][..], &short].concat()).unwrap();
    let errors: Vec<String> = report["errors"].as_object().unwrap().keys().cloned().collect();
    assert_eq!((&report["ok"], errors.len()), (&json!(0), 1), "{report}");
    errors.concat()
}

/// Waits until `count` watches have been asked for.
pub fn watches(master: &Master, count: u64) {
    eventually(SOON, "the watches open", || {
        let watches = master.stats().unwrap()["requests"]["/watch"].clone();
        if watches == count { Ok(()) } else { Err(watches.to_string()) }
    })
    .unwrap();
}

/// Waits until a `hold` client has its watch.
pub fn opened(client: &ClientRun) {
    eventually(SOON, "the watch opens", || {
        let said = client.stdout();
        if said.starts_with("open ") && said.contains('\n') { Ok(()) } else { Err(said) }
    })
    .unwrap();
}

/// Status and HTTP version as curl saw them.
pub fn curl(lab: &Lab, arguments: &[&str]) -> String {
    let format = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
    lab.node().curl(&[&format, arguments].concat()).unwrap().stdout
}
