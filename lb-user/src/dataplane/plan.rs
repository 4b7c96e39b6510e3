//! What would be changed in the kernel, without changing it.

use lb_core::{config::Config, desired::DesiredState, model::DataplaneKind};

use super::{
    Dataplane as _, DataplaneError, Unsupported,
    socket::{self, SocketDataplane},
};
use crate::os::{bpffs, cgroup};

/// The changes that lead to `desired`, a line each. With `auto`, those of the first dataplane whose outer needs are met:
/// whether its programs load only an agent finds out.
pub fn plan(config: &Config, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
    match config.dataplane {
        Some(DataplaneKind::Socket) | None => plan_socket(config, desired),
        Some(kind @ (DataplaneKind::Ipvs | DataplaneKind::Packet)) => {
            let feature = "anything in this version of lbctl".to_owned();
            let remedy = "set dataplane to auto or socket";
            Err(Unsupported { feature, dataplane: kind, remedy }.into())
        }
    }
}

fn plan_socket(config: &Config, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
    let cgroup = cgroup::find(config.cgroup.as_deref())?;
    let mut lines = Vec::new();
    if !bpffs::lies_on_bpffs(&config.bpffs)? {
        lines.push(format!("mount a BPF file system for {}", config.bpffs.display()));
    }
    let observed = SocketDataplane::peek(&config.bpffs, Some(&cgroup))?.unwrap_or_default();
    let wanted = socket::lower(desired, Some(config.scope))?;
    lines.extend(SocketDataplane::diff(&observed, &wanted).iter().map(ToString::to_string));
    Ok(lines)
}
