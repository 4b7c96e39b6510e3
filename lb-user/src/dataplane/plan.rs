//! What would be changed in the kernel, without changing it.

use lb_core::{
    config::Config,
    desired::DesiredState,
    model::{DataplaneKind, Dataplanes},
};

use super::{
    Dataplane as _, DataplaneError,
    ipvs::{self, IpvsDataplane},
    open::packet_options,
    packet::PacketDataplane,
    socket::{self, SocketDataplane},
};
use crate::os::{bpffs, cgroup, node};

/// The changes that lead to `desired`, a line each. With `auto`, those of the first dataplane whose outer needs are met:
/// whether its programs load only an agent finds out.
pub fn plan(config: &Config, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
    match config.dataplane {
        Some(Dataplanes::One(kind)) => plan_one(kind, config, desired),
        Some(pair @ Dataplanes::SocketAndPacket) => {
            let mut lines = Vec::new();
            for kind in pair.kinds() {
                let more = plan_one(*kind, config, desired)?;
                lines.extend(more.into_iter().map(|line| format!("{kind}: {line}")));
            }
            Ok(lines)
        }
        None => match plan_socket(config, desired) {
            Err(DataplaneError::Missing { .. }) => match plan_ipvs(config, desired) {
                Err(DataplaneError::Missing { .. }) => plan_packet(config, desired),
                planned => planned,
            },
            planned => planned,
        },
    }
}

fn plan_one(
    kind: DataplaneKind,
    config: &Config,
    desired: &DesiredState,
) -> Result<Vec<String>, DataplaneError> {
    match kind {
        DataplaneKind::Socket => plan_socket(config, desired),
        DataplaneKind::Ipvs => plan_ipvs(config, desired),
        DataplaneKind::Packet => plan_packet(config, desired),
    }
}

fn plan_packet(config: &Config, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
    let mut lines = mount(config)?;
    lines.extend(PacketDataplane::plan(&packet_options(config), desired)?);
    Ok(lines)
}

fn mount(config: &Config) -> Result<Vec<String>, DataplaneError> {
    let line = format!("mount a BPF file system for {}", config.bpffs.display());
    Ok(if bpffs::lies_on_bpffs(&config.bpffs)? { Vec::new() } else { vec![line] })
}

fn plan_ipvs(config: &Config, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
    let options = ipvs::Options { scope: config.scope, state_dir: config.state_dir.clone() };
    let mut dataplane = IpvsDataplane::open(options)?;
    let observed = dataplane.observe(desired)?;
    let wanted = dataplane.lower(desired)?;
    Ok(IpvsDataplane::diff(&observed, &wanted).iter().map(ToString::to_string).collect())
}

fn plan_socket(config: &Config, desired: &DesiredState) -> Result<Vec<String>, DataplaneError> {
    let cgroup = cgroup::find(config.cgroup.as_deref())?;
    let mut lines = mount(config)?;
    let observed = SocketDataplane::peek(&config.bpffs, Some(&cgroup))?.unwrap_or_default();
    let wanted = socket::lower(desired, Some(config.scope), &node::name());
    lines.extend(SocketDataplane::diff(&observed, &wanted).iter().map(ToString::to_string));
    Ok(lines)
}
