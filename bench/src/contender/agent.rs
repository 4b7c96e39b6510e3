//! lbctl.

use anyhow::Context;
use lb_tests::{Lab, binaries};

use super::{Running, Scheme, ready, vip};

/// An agent with this dataplane, told this of rescues if anything, and otherwise the lab's configuration.
pub(super) fn start(
    lab: &Lab,
    scheme: Scheme,
    dataplane: &str,
    rescue: Option<&str>,
) -> anyhow::Result<Running> {
    let config = lab.agent_config(|yaml| {
        yaml["dataplane"] = dataplane.into();
        if dataplane == "packet" {
            yaml["scope"] = "node".into();
        }
        if let Some(rescue) = rescue {
            yaml["rescue"] = rescue.into();
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
