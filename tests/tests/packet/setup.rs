//! The lab that these tests play in.

use lb_tests::Lab;
use lb_tests::lab::{Agent, Builder, Dataplane, Node, VIP, VIP_V6};
use lb_tests::wait::eventually;
use serde_json::{Value, json};
pub use serde_yaml::Value as Yaml;

use crate::common::SOON;
use crate::common::agent::{await_serving, backends, fast};

/// Kinds of sockets, and the virtual address that each connects to.
pub const FAMILIES: [(&str, &str); 3] = [("v4", VIP), ("mapped", VIP), ("v6", VIP_V6)];

/// A lab with a virtual machine and a machine from elsewhere, besides masters that the test adds.
pub fn builder() -> Builder {
    Lab::builder().dataplane(Dataplane::Packet).vm().outsider()
}

/// Every kind of client: who it is, and where it runs.
pub fn clients(lab: &Lab) -> [(&'static str, &Node); 3] {
    [("vm", lab.vm()), ("outsider", lab.outsider()), ("node", lab.node())]
}

/// Those that the node only forwards.
pub fn forwarded(lab: &Lab) -> [(&'static str, &Node); 2] {
    [("vm", lab.vm()), ("outsider", lab.outsider())]
}

/// Quick verdicts, connections in turn, and all masters at two virtual addresses, one of each family.
pub fn both_families(lab: &Lab) -> impl FnOnce(&mut Yaml) {
    let backends: Vec<_> = lab.masters().iter().map(|master| master.address_v6().to_string()).collect();
    move |config| {
        in_turn(config);
        let mut second = config["services"][0].clone();
        second["name"] = "apiserver6".into();
        second["vip"] = VIP_V6.into();
        second["backends"] = yaml(json!(backends));
        second.as_mapping_mut().unwrap().remove("hostname");
        config["services"].as_sequence_mut().unwrap().push(second);
    }
}

/// Quick verdicts, and connections in turn: chance must not leave a master without any.
pub fn in_turn(config: &mut Yaml) {
    fast(config);
    config["scope"] = "node".into();
    config["services"][0]["policy"] = "round-robin".into();
}

/// JSON as YAML.
pub fn yaml(value: Value) -> Yaml {
    serde_yaml::to_value(value).unwrap()
}

/// Starts the agent, and waits until every backend of every service serves and the kernel knows. It has the machines of its
/// clients out of reach.
pub fn started(lab: &Lab) -> Agent {
    let agent = lab.start_confined_agent().unwrap();
    ready(&agent);
    agent
}

/// Waits until every backend of every service serves and the kernel knows.
pub fn ready(agent: &Agent) {
    eventually(SOON, "every backend serves", || {
        let backends = backends(agent)?;
        let out: Vec<_> = backends.iter().filter(|backend| backend["serving"] != true).collect();
        if out.is_empty() { Ok(()) } else { Err(format!("{out:?}")) }
    })
    .unwrap();
    eventually(SOON, "the kernel is programmed", || {
        let response = agent.request("GET", "/readyz", "").map_err(|error| format!("{error:#}"))?;
        if response.status == 200 { Ok(()) } else { Err(format!("{response:?}")) }
    })
    .unwrap();
}

/// A lab whose masters are all on the wire, with an agent that has found them.
pub fn running(masters: u8, change: impl FnOnce(&mut Yaml)) -> Option<(Lab, Agent)> {
    let lab = builder().masters(masters).build_or_skip().unwrap()?;
    lab.agent_config(|config| {
        in_turn(config);
        change(config);
    })
    .unwrap();
    let agent = started(&lab);
    await_serving(&agent, &lab.masters().iter().collect::<Vec<_>>(), SOON);
    Some((lab, agent))
}

/// Waits until a client connects to the virtual address.
pub fn await_connect(client: &Node, what: &str, deadline: std::time::Duration) {
    eventually(deadline, what, || {
        let report = client.client(&["syn", "--to", VIP, "--connect-timeout", "200ms"]);
        let report = report.map_err(|error| format!("{error:#}"))?;
        if report["result"] == "connected" { Ok(()) } else { Err(report.to_string()) }
    })
    .unwrap();
}
