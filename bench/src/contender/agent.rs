//! lbctl.

use anyhow::Context;
use lb_tests::{Lab, binaries};

use super::{Running, Scheme, ready, vip};

/// What the lab's configuration does not say.
#[derive(Clone, Copy, Default)]
pub(super) struct Told<'a> {
    pub(super) dataplane: &'a str,
    /// Of rescues, if anything.
    pub(super) rescue: Option<&'a str>,
    /// The wires to the masters and to machines from elsewhere are XDP's.
    pub(super) xdp: bool,
}

/// An agent that is told this.
pub(super) fn start(lab: &Lab, scheme: Scheme, told: Told<'_>) -> anyhow::Result<Running> {
    let Told { dataplane, rescue, xdp } = told;
    let config = lab.agent_config(|yaml| {
        yaml["dataplane"] = dataplane.into();
        if dataplane == "packet" {
            yaml["scope"] = "node".into();
        }
        if let Some(rescue) = rescue {
            yaml["rescue"] = rescue.into();
        }
        if xdp {
            yaml["packet"]["xdp"] = vec!["eth0", "eth1"].into();
        }
        if scheme == Scheme::Plain {
            let health = &mut yaml["services"][0]["health"];
            health["type"] = "http".into();
            // There is no certificate to be checked.
            health.as_mapping_mut().map(|health| health.remove("ca"));
        }
    })?;
    let mut running = Running::new(lab, vec![vip()?]);
    let lbctl = binaries::lbctl()?;
    let lbctl = lbctl.to_str().context("find lbctl: its path is not UTF-8")?;
    running.undo_with(&[lbctl, "--config", &config.to_string_lossy(), "cleanup"]);
    if dataplane == "socket" {
        running.serve_node_cgroup();
    }
    ready::serves(lab, running.set_agent(lab.start_agent()?))?;
    Ok(running)
}
