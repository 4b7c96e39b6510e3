//! The lab that a scenario plays in.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Agent, Builder, Dataplane};
pub use serde_yaml::Value as Yaml;

use crate::common::agent::{alert, fast, running};
use crate::common::load::{Load, syn};
use lb_tests::wait::eventually;

/// What a scenario is run with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What the agent is told to use.
    pub dataplane: Dataplane,
}

/// Held connections: in turn, so that each of up to three masters has some.
pub const HELD: u32 = 6;
/// Clients that open connections in a loop.
pub const CLIENTS: u32 = 4;

impl Setup {
    /// A lab for this dataplane.
    pub fn builder(self) -> Builder {
        Lab::builder().dataplane(self.dataplane)
    }

    /// One of `masters`, with a configuration as in [`in_turn`]; `None` only where the user allowed skipping.
    pub fn lab(self, masters: u8) -> Option<Lab> {
        let lab = self.builder().masters(masters).build_or_skip().unwrap()?;
        lab.agent_config(in_turn).unwrap();
        Some(lab)
    }

    /// Such a lab with an agent that has found every master up.
    pub fn running(self, masters: u8) -> Option<(Lab, Agent)> {
        let lab = self.lab(masters)?;
        let agent = running(&lab);
        Some((lab, agent))
    }

    /// As [`Self::running`], with silence noticed sooner.
    pub fn alert(self, masters: u8) -> Option<(Lab, Agent)> {
        let lab = self.lab(masters)?;
        lab.agent_config(|yaml| {
            in_turn(yaml);
            alert(yaml);
        })
        .unwrap();
        let agent = running(&lab);
        Some((lab, agent))
    }
}

/// Quick verdicts, and connections in turn: chance must not leave a master without any.
pub fn in_turn(yaml: &mut Yaml) {
    fast(yaml);
    service(yaml)["policy"] = "round-robin".into();
}

/// The only service of the lab's configuration.
pub fn service(yaml: &mut Yaml) -> &mut Yaml {
    &mut yaml["services"][0]
}

/// JSON as YAML.
pub fn yaml(value: serde_json::Value) -> Yaml {
    serde_yaml::to_value(value).unwrap()
}

/// Connections that are held, and then clients that open others.
pub fn loads(lab: &Lab, family: &str) -> (Load, Load) {
    let held = Load::start(lab, family, 0, HELD);
    (held, Load::with(lab, family, CLIENTS, 0, &DEADLINES))
}

/// Deadlines of the clients' own that tell a silent master from a slow one.
const DEADLINES: [&str; 4] = ["--connect-timeout", "400ms", "--timeout", "700ms"];

/// Waits until a connect to the virtual address succeeds.
pub fn await_connect(lab: &Lab, to: &str, what: &str, deadline: Duration) {
    eventually(deadline, what, || {
        let (result, _) = syn(lab.node(), to);
        if result == "connected" { Ok(()) } else { Err(result) }
    })
    .unwrap();
}
