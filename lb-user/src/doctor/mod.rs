//! Gathering what `lbctl doctor` judges: one file per area, each bounded in time and size.
//!
//! Nothing on the host is changed. The kernel is asked whether it takes our programs by loading them, but nothing is
//! attached or pinned, and they are gone before this returns. What cannot be learnt becomes a gap, and the rest goes on.

mod agent;
mod backends;
mod certificate;
mod cidrs;
mod effect;
mod host;
mod hosts;
mod kernel;
mod kube_proxy;
mod links;
mod manifest;
mod modules;
mod packet;
mod processes;
mod proxy;
mod variables;

use std::{fmt::Display, path::PathBuf};

use jiff::Timestamp;
use lb_core::doctor::{Code, ConfigFact, Facts, Gap};

pub use host::Host;

use crate::os::addresses;

/// Where to look.
pub struct Options {
    /// The host's files.
    pub host: Host,
    /// The configuration, as far as there is one.
    pub config: ConfigFact,
    /// Where the agent leaves things.
    pub places: Places,
}

/// Where the agent leaves things.
pub struct Places {
    /// The directory for pins.
    pub bpffs: PathBuf,
    /// The directory for state.
    pub state_dir: PathBuf,
    /// The hosts file.
    pub hosts: PathBuf,
    /// The admin API's unix socket.
    pub admin_socket: PathBuf,
}

/// Looks at everything. `progress` is told what comes next.
pub fn gather(options: Options, mut progress: impl FnMut(&'static str)) -> Facts {
    let Options { host, config, places } = options;
    let mut facts = Facts { now: Timestamp::now(), config, ..Facts::default() };
    progress("looking at the kernel");
    kernel::look(&places, &mut facts);
    modules::look(&host, &mut facts);
    progress("reading files and processes");
    let processes = processes::read(&host);
    let manifests = manifest::read(&host, &mut facts);
    kernel::look_at_firewalld(&processes, &mut facts);
    kube_proxy::look(&host, &processes, &mut facts);
    cidrs::look(&host, &processes, &manifests, &mut facts);
    links::look(&host, &mut facts);
    hosts::look(&host, &places.hosts, &mut facts);
    proxy::look(&host, &manifests, std::env::vars_os(), &mut facts);
    certificate::look(&host, &mut facts);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(talk(&places, &mut facts, &mut progress));
        }
        Err(error) => gap(&mut facts, Code::Backend, "start the tokio runtime", error),
    }
    progress("connecting to the virtual addresses");
    effect::look(&places, &mut facts);
    progress("looking at what packets meet");
    packet::look(&host, &mut facts);
    facts
}

/// What takes answers from others.
async fn talk(places: &Places, facts: &mut Facts, progress: &mut impl FnMut(&'static str)) {
    progress("asking the agent");
    agent::look(&places.admin_socket, facts).await;
    match addresses::own().await {
        Ok(own) => facts.own_addresses = Some(own),
        Err(error) => gap(facts, Code::VipInterface, "list this node's addresses", error),
    }
    progress("asking the backends");
    backends::look(facts).await;
}

/// Remembers what could not be learnt, and why.
fn gap(facts: &mut Facts, code: Code, operation: impl Display, error: impl Into<anyhow::Error>) {
    let error = error.into();
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    facts.gaps.push(Gap { code, why: format!("failed to {operation}: {}", causes.join(": ")) });
}

/// The value, or a gap.
fn known<T>(
    facts: &mut Facts,
    code: Code,
    operation: impl Display,
    result: Result<T, impl Into<anyhow::Error>>,
) -> Option<T> {
    result.map_err(|error| gap(facts, code, operation, error)).ok()
}
