//! The agent's configuration in a lab.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use serde_yaml::Value;

use super::{HOSTNAME, Lab, VIP};
use crate::pki::Signer;

/// A hosts file as Debian installs it.
const HOSTS: &str = "127.0.0.1\tlocalhost\n192.168.77.10\tnode\n\n# IPv6\n::1\tlocalhost ip6-localhost\n";

pub(super) fn write_hosts_file(path: &Path) -> anyhow::Result<()> {
    fs::write(path, HOSTS).with_context(|| format!("write {}", path.display()))
}

impl Lab {
    /// Where [`Self::agent_config`] writes.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir().join("config.yaml")
    }

    /// The directory of the agent's pins, on a bpffs of the lab's own.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.bpffs.path().join("lbctl")
    }

    /// The agent's admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.dir().join("lbctl.sock")
    }

    /// Writes a configuration with every path inside the lab and every master as a backend, after `change` has had its way:
    /// `|yaml| yaml["services"][0]["health"]["interval"] = "200ms".into()`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn agent_config(&self, change: impl FnOnce(&mut Value)) -> anyhow::Result<PathBuf> {
        let mut yaml = self.default_config()?;
        if let Some(value) = self.dataplane.value() {
            yaml["dataplane"] = value;
        }
        change(&mut yaml);
        let text = serde_yaml::to_string(&yaml).context("write the configuration as YAML")?;
        let path = self.config_file();
        // By rename, as editors and configuration management do it: a running agent must never see half a file.
        let new = self.dir().join("config.yaml.new");
        fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("rename to {}", path.display()))?;
        Ok(path)
    }

    fn default_config(&self) -> anyhow::Result<Value> {
        let backends: Vec<String> =
            self.masters().iter().map(|master| master.address().to_string()).collect();
        serde_yaml::to_value(json!({
            "cgroup": self.node().cgroup().path(),
            "bpffs": self.pins(),
            "stateDir": self.dir().join("state"),
            "hosts": {"path": self.hosts_file(), "manage": true},
            "admin": {"socket": self.admin_socket()},
            "metrics": {"listen": "127.0.0.1:9464"},
            "services": [{
                "name": "apiserver",
                "vip": VIP,
                "hostname": HOSTNAME,
                "backends": backends,
                "health": {"type": "https", "ca": self.pki().ca(Signer::Lab)},
            }],
        }))
        .context("make the configuration")
    }
}
