//! The kernel's parts that are not one dataplane's, and firewalld.

use super::{AgentFact, Code, Facts, Finding, Lack, Memlock, packet};
use crate::model::{DataplaneKind, Dataplanes, Scope};

/// Since this version BPF memory is charged to cgroups, not to the limit of locked memory.
const NO_MEMLOCK: (u32, u32) = (5, 11);
/// What the socket dataplane's maps take, with room to spare.
const MEMLOCK_NEEDED: u64 = 16 << 20;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let found = [cgroup(facts), bpffs(facts), memlock(facts), sock_destroy(facts), firewalld(facts)];
    found.into_iter().flatten().collect()
}

/// Whether no programs are in question.
fn is_ipvs(facts: &Facts) -> bool {
    let named = facts.config().is_some_and(|config| config.names(DataplaneKind::Ipvs));
    let runs = matches!(&facts.agent, Some(AgentFact::Running { dataplanes, .. }) if dataplanes.has(DataplaneKind::Ipvs));
    named || runs
}

/// Whether packets are translated, and the socket dataplane is out of the question.
fn is_packet_alone(facts: &Facts) -> bool {
    let alone = |dataplanes: Dataplanes| dataplanes.kinds() == [DataplaneKind::Packet];
    let named = facts.config().and_then(|config| config.dataplane).is_some_and(alone);
    named || matches!(&facts.agent, Some(AgentFact::Running { dataplanes, .. }) if alone(*dataplanes))
}

fn cgroup(facts: &Facts) -> Option<Finding> {
    Some(match facts.cgroup.as_ref()? {
        Ok(path) => Finding::ok(Code::CgroupRoot, format!("{}", path.display())),
        Err(Lack { what, .. }) if is_ipvs(facts) => {
            Finding::ok(Code::CgroupRoot, format!("{what}; ipvs does not need it"))
        }
        Err(Lack { what, .. }) if is_packet_alone(facts) => {
            Finding::ok(Code::CgroupRoot, format!("{what}; packet does not need it"))
        }
        // DATAPLANE fails where nothing else can be used.
        Err(Lack { what, remedy }) => Finding::warn(Code::CgroupRoot, what, remedy),
    })
}

fn bpffs(facts: &Facts) -> Option<Finding> {
    let (path, mounted) = facts.bpffs.as_ref()?;
    let path = path.display();
    Some(match mounted {
        true => Finding::ok(Code::Bpffs, format!("{path} lies on a BPF file system")),
        false if is_ipvs(facts) => {
            Finding::ok(Code::Bpffs, format!("{path} lies on no BPF file system; ipvs does not need it"))
        }
        false => Finding::warn(
            Code::Bpffs,
            format!("{path} lies on no BPF file system: the agent mounts one when it starts"),
            "mount -t bpf bpf /sys/fs/bpf; in a container mount the host's, or what is pinned ends with it",
        ),
    })
}

fn memlock(facts: &Facts) -> Option<Finding> {
    let limit = facts.memlock?;
    Some(match (version(&facts.kernel), limit) {
        (Some(version), _) if version >= NO_MEMLOCK => {
            Finding::ok(Code::Memlock, format!("Linux {} does not limit BPF memory by it", facts.kernel))
        }
        (_, Memlock::Unlimited) => Finding::ok(Code::Memlock, "unlimited"),
        (_, Memlock::Bytes(bytes)) if bytes >= MEMLOCK_NEEDED => {
            Finding::ok(Code::Memlock, format!("{} MiB", bytes >> 20))
        }
        (_, Memlock::Bytes(bytes)) if matches!(facts.programs, Some(Ok(_))) => Finding::ok(
            Code::Memlock,
            format!(
                "{} KiB, which a process with CAP_SYS_RESOURCE raises by itself, as this one did",
                bytes >> 10
            ),
        ),
        (_, Memlock::Bytes(bytes)) => Finding::warn(
            Code::Memlock,
            format!("{} KiB of locked memory: before Linux 5.11 the maps need more", bytes >> 10),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the agent's systemd unit",
        ),
    })
}

fn sock_destroy(facts: &Facts) -> Option<Finding> {
    Some(match facts.sock_destroy? {
        true => Finding::ok(Code::SockDestroy, "the kernel can end sockets"),
        false => Finding::warn(
            Code::SockDestroy,
            "the kernel cannot end sockets: connections to a dead backend stay until they time out",
            "use a kernel with CONFIG_INET_DIAG_DESTROY",
        ),
    })
}

fn firewalld(facts: &Facts) -> Option<Finding> {
    if !facts.firewalld? {
        return Some(Finding::ok(Code::Firewalld, "not running"));
    }
    let own = facts.own_addresses.iter().flatten();
    let services = facts.config().into_iter().flat_map(|config| &config.services);
    let ports: Vec<_> = services
        .flat_map(|service| &service.backends)
        .filter(|backend| own.clone().any(|address| *address == backend.address.ip()))
        .map(|backend| backend.address.port())
        .collect();
    let open = |port: &u16| format!("firewall-cmd --permanent --add-port={port}/tcp");
    Some(match ports.first() {
        Some(port) => Finding::warn(
            Code::Firewalld,
            "running, and a backend is on this node: other nodes reach it only where a zone lets them",
            format!("see that the port is open: {} && firewall-cmd --reload", open(port)),
        ),
        None if is_ipvs(facts) => Finding::warn(
            Code::Firewalld,
            "running: it may drop what IPVS forwards for pods",
            "with `scope: node` see that the zone of the pods' interfaces may forward",
        ),
        None if packet::is_used(facts)
            && facts.config().is_some_and(|config| config.scope == Scope::Node) =>
        {
            Finding::warn(
                Code::Firewalld,
                "running: it sees what is forwarded to a backend with the backend's address, and may drop it",
                "see that the zone of the clients' interfaces may forward",
            )
        }
        None => Finding::ok(Code::Firewalld, "running; connects from this node are not its business"),
    })
}

/// `6.1.0-18-amd64`: 6, 1.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
