//! lbctl.

use anyhow::Context;
use lb_tests::{Lab, binaries};

use super::{Running, Scheme, ready, vip};

/// What an agent is told beside its dataplane.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    NoRescue,
    NoMasquerade,
    NoShortcut,
    /// The wires to the masters and to machines from elsewhere are XDP's.
    Xdp,
}

/// An agent with this dataplane, told this, and otherwise with the lab's configuration.
pub(super) fn start(lab: &Lab, scheme: Scheme, dataplane: &str, told: Told) -> anyhow::Result<Running> {
    let config = lab.agent_config(|yaml| {
        yaml["dataplane"] = dataplane.into();
        if dataplane == "packet" {
            yaml["scope"] = "node".into();
        }
        match told {
            Told::Nothing => {}
            Told::NoRescue => yaml["rescue"] = "off".into(),
            Told::NoMasquerade => yaml["packet"]["masquerade"] = false.into(),
            Told::NoShortcut => yaml["packet"]["shortcut"] = "off".into(),
            Told::Xdp => yaml["packet"]["xdp"] = vec!["eth0", "eth1"].into(),
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
