//! Whether a dataplane can be used, and what each of them lacks.

use super::{Code, Facts, Finding, Lack, Module, Programs, Severity};
use crate::model::{DataplaneKind, Dataplanes, Policy};

/// Whether a dataplane can be used here.
enum Usable {
    Yes(String),
    No(Lack),
    Unknown,
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let usable = Each { socket: socket(facts), ipvs: ipvs(facts), packet: packet() };
    let wanted = facts.config().and_then(|config| config.dataplane);
    let mut findings = vec![choice(wanted, &usable)];
    let needs = |kind| wanted.is_some_and(|wanted| wanted.has(kind));
    let Each { socket, ipvs, .. } = &usable;
    findings.extend(one(Code::SocketKernel, socket, needs(DataplaneKind::Socket), ipvs));
    // A gap says more than that it is unknown.
    let told = facts.gaps.iter().any(|gap| gap.code == Code::IpvsKernel) && matches!(ipvs, Usable::Unknown);
    findings.extend(one(Code::IpvsKernel, ipvs, needs(DataplaneKind::Ipvs), socket).filter(|_| !told));
    findings
}

/// Whether each of them can be used.
struct Each {
    socket: Usable,
    ipvs: Usable,
    packet: Usable,
}

impl Each {
    fn of(&self, kind: DataplaneKind) -> &Usable {
        match kind {
            DataplaneKind::Socket => &self.socket,
            DataplaneKind::Ipvs => &self.ipvs,
            DataplaneKind::Packet => &self.packet,
        }
    }
}

fn choice(wanted: Option<Dataplanes>, usable: &Each) -> Finding {
    wanted.map_or_else(|| automatic(usable), |wanted| named(wanted, usable))
}

/// All that are named must be usable.
fn named(wanted: Dataplanes, usable: &Each) -> Finding {
    for kind in wanted.kinds() {
        match usable.of(*kind) {
            Usable::Yes(_) => {}
            Usable::No(Lack { what, remedy }) => {
                let message = format!("{kind}, named in the config, cannot be used: {what}");
                return Finding::fail(Code::Dataplane, message, remedy);
            }
            Usable::Unknown => return undecided(),
        }
    }
    Finding::ok(Code::Dataplane, format!("{wanted}, named in the config, can be used"))
}

/// What `auto` takes: the first that can be used, in SPEC's order.
fn automatic(usable: &Each) -> Finding {
    let mut lacks: Vec<(DataplaneKind, &Lack)> = Vec::new();
    for kind in DataplaneKind::ALL {
        match usable.of(*kind) {
            Usable::Yes(_) if lacks.is_empty() => {
                return Finding::ok(Code::Dataplane, format!("auto takes {kind}"));
            }
            Usable::Yes(_) => {
                let others: Vec<_> = lacks.iter().map(|(kind, _)| kind.to_string()).collect();
                let message = format!("auto takes {kind}: {} cannot be used", others.join(" and "));
                return Finding::ok(Code::Dataplane, message);
            }
            Usable::No(lack) => lacks.push((*kind, lack)),
            Usable::Unknown => return undecided(),
        }
    }
    let why: Vec<_> = lacks.iter().map(|(kind, lack)| format!("{kind}: {}", lack.what)).collect();
    let remedy = lacks.first().map_or("", |(_, lack)| lack.remedy.as_str());
    Finding::fail(Code::Dataplane, format!("none can be used: {}", why.join("; ")), remedy)
}

/// Whatever the kernel has.
fn packet() -> Usable {
    let remedy = "set `dataplane:` to auto, socket or ipvs".to_owned();
    Usable::No(Lack { what: "it is not part of this version".to_owned(), remedy })
}

fn undecided() -> Finding {
    Finding::warn(
        Code::Dataplane,
        "unknown: what the kernel supports could not be learnt",
        "run doctor as root on the host itself",
    )
}

/// A dataplane that nobody needs is nothing to worry about.
fn one(code: Code, usable: &Usable, needed: bool, other: &Usable) -> Option<Finding> {
    match usable {
        Usable::Yes(message) => Some(Finding::ok(code, message)),
        Usable::No(Lack { what, remedy }) => {
            let severity = match (needed, other) {
                (true, _) | (false, Usable::No(_)) => Severity::Fail,
                (false, Usable::Unknown) => Severity::Warn,
                (false, Usable::Yes(_)) => {
                    return Some(Finding::ok(code, format!("{what}; not needed here")));
                }
            };
            Some(Finding::bad(severity, code, what, remedy))
        }
        Usable::Unknown => unknown(code, needed, other),
    }
}

fn unknown(code: Code, needed: bool, other: &Usable) -> Option<Finding> {
    // Why it is not known of programs is a gap of its own.
    if code == Code::SocketKernel {
        return None;
    }
    match (needed, other) {
        (false, Usable::Yes(_)) => {
            Some(Finding::ok(code, "whether its modules are there cannot be seen from here; not needed here"))
        }
        (true, _) | (false, Usable::No(_) | Usable::Unknown) => Some(Finding::warn(
            code,
            "unknown: neither are all its modules loaded, nor is the kernel's directory of modules to be seen",
            "run doctor on the host itself, or mount /lib/modules into the container",
        )),
    }
}

fn socket(facts: &Facts) -> Usable {
    let kernel = &facts.kernel;
    match (&facts.programs, &facts.cgroup) {
        (Some(Err(Lack { what, remedy })), _) => {
            let remedy = remedy.clone();
            Usable::No(Lack { what: format!("Linux {kernel}: {what}"), remedy })
        }
        (Some(Ok(_)) | None, Some(Err(lack))) => Usable::No(lack.clone()),
        (Some(Ok(Programs { set_retval: true })), Some(Ok(_))) => {
            Usable::Yes(format!("Linux {kernel} takes the programs, with all that they use"))
        }
        (Some(Ok(Programs { set_retval: false })), Some(Ok(_))) => Usable::Yes(format!(
            "Linux {kernel} takes the programs, without bpf_set_retval (Linux 5.18): a connect that nobody serves \
             fails with EPERM instead of EHOSTUNREACH"
        )),
        (None, Some(Ok(_)) | None) | (Some(Ok(_)), None) => Usable::Unknown,
    }
}

fn ipvs(facts: &Facts) -> Usable {
    let kernel = &facts.kernel;
    let needed = needed_modules(facts);
    let state = |name: &&str| facts.modules.get(*name).copied().unwrap_or(Module::Unknown);
    let absent: Vec<_> = needed.iter().copied().filter(|name| state(name) == Module::Absent).collect();
    if !absent.is_empty() {
        let what = format!("Linux {kernel} has no {}", absent.join(", "));
        let remedy = "use a kernel with these modules (CONFIG_IP_VS, CONFIG_NF_TABLES), or dataplane: socket";
        return Usable::No(Lack { what, remedy: remedy.to_owned() });
    }
    if needed.iter().any(|name| state(name) == Module::Unknown) {
        return Usable::Unknown;
    }
    let on_disk: Vec<_> = needed.iter().copied().filter(|name| state(name) == Module::Loadable).collect();
    Usable::Yes(match on_disk.as_slice() {
        [] => format!("Linux {kernel} has {}", needed.join(", ")),
        names => format!("Linux {kernel} has {}; {} not loaded yet", needed.join(", "), names.join(", ")),
    })
}

/// IPVS itself, the scheduler of each service's policy, and nftables.
fn needed_modules(facts: &Facts) -> Vec<&'static str> {
    let services = facts.config().map_or(&[][..], |config| config.services.as_slice());
    let mut names = vec!["ip_vs", "nf_tables"];
    names.extend(services.iter().map(|service| match service.policy {
        Policy::Random | Policy::RoundRobin => "ip_vs_wrr",
        Policy::LeastConn => "ip_vs_wlc",
        Policy::Sticky => "ip_vs_mh",
    }));
    if services.is_empty() {
        names.push("ip_vs_wrr");
    }
    names.sort_unstable();
    names.dedup();
    names
}
