//! Whether a dataplane can be used, and what each of them lacks.

use super::{Code, Facts, Finding, Lack, Module, Programs, Severity, kernel::version};
use crate::model::{DataplaneKind, Dataplanes, Policy};

/// Since this version programs hang on interfaces by links.
const TCX: (u32, u32) = (6, 6);
/// Before it they hang on the qdisc of the first as filters of the second.
const TC_MODULES: [&str; 2] = ["sch_ingress", "cls_bpf"];

/// Whether a dataplane can be used here.
enum Usable {
    Yes(String),
    No(Lack),
    Unknown,
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let usable = Each { socket: socket(facts), ipvs: ipvs(facts), packet: packet(facts) };
    let wanted = facts.config().and_then(|config| config.dataplane);
    let mut findings = vec![choice(wanted, &usable)];
    for (kind, code) in [
        (DataplaneKind::Socket, Code::SocketKernel),
        (DataplaneKind::Ipvs, Code::IpvsKernel),
        (DataplaneKind::Packet, Code::PacketKernel),
    ] {
        let needed = wanted.is_some_and(|wanted| wanted.has(kind));
        // A gap says more than that it is unknown.
        let told =
            facts.gaps.iter().any(|gap| gap.code == code) && matches!(usable.of(kind), Usable::Unknown);
        findings.extend(one(code, usable.of(kind), needed, usable.other_than(kind)).filter(|_| !told));
    }
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

    /// Whether one of the others can be used.
    fn other_than(&self, kind: DataplaneKind) -> Other {
        let others =
            || DataplaneKind::ALL.iter().filter(|other| **other != kind).map(|other| self.of(*other));
        if others().any(|other| matches!(other, Usable::Yes(_))) {
            Other::Yes
        } else if others().any(|other| matches!(other, Usable::Unknown)) {
            Other::Unknown
        } else {
            Other::No
        }
    }
}

/// Whether another dataplane can be used.
#[derive(Clone, Copy)]
enum Other {
    Yes,
    No,
    Unknown,
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
            Usable::Unknown if *kind == DataplaneKind::Ipvs && matches!(usable.packet, Usable::Yes(_)) => {
                return Finding::ok(
                    Code::Dataplane,
                    "auto takes ipvs if its modules are there, which cannot be seen from here, else packet",
                );
            }
            Usable::Unknown => return undecided(),
        }
    }
    let why: Vec<_> = lacks.iter().map(|(kind, lack)| format!("{kind}: {}", lack.what)).collect();
    let remedy = lacks.first().map_or("", |(_, lack)| lack.remedy.as_str());
    Finding::fail(Code::Dataplane, format!("none can be used: {}", why.join("; ")), remedy)
}

fn packet(facts: &Facts) -> Usable {
    let kernel = &facts.kernel;
    let absent = || {
        TC_MODULES.iter().find(|name| facts.modules.get(**name).is_some_and(|state| *state == Module::Absent))
    };
    match &facts.packet_programs {
        None => Usable::Unknown,
        Some(Err(Lack { what, remedy })) => {
            let what = format!("Linux {kernel}: {what}");
            Usable::No(Lack { what, remedy: remedy.clone() })
        }
        Some(Ok(())) if version(kernel).is_some_and(|version| version >= TCX) => {
            Usable::Yes(format!("Linux {kernel} takes the programs, and has TCX"))
        }
        Some(Ok(())) => match absent() {
            Some(name) => {
                let what = format!("Linux {kernel} has neither TCX nor {name}");
                let remedy =
                    "use Linux 6.6 or later, or a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF";
                Usable::No(Lack { what, remedy: remedy.to_owned() })
            }
            None => Usable::Yes(format!("Linux {kernel} takes the programs, on the qdisc clsact")),
        },
    }
}

fn undecided() -> Finding {
    Finding::warn(
        Code::Dataplane,
        "unknown: what the kernel supports could not be learnt",
        "run doctor as root on the host itself",
    )
}

/// A dataplane that nobody needs is nothing to worry about.
fn one(code: Code, usable: &Usable, needed: bool, other: Other) -> Option<Finding> {
    match usable {
        Usable::Yes(message) => Some(Finding::ok(code, message)),
        Usable::No(Lack { what, remedy }) => {
            let severity = match (needed, other) {
                (true, _) | (false, Other::No) => Severity::Fail,
                (false, Other::Unknown) => Severity::Warn,
                (false, Other::Yes) => {
                    return Some(Finding::ok(code, format!("{what}; not needed here")));
                }
            };
            Some(Finding::bad(severity, code, what, remedy))
        }
        Usable::Unknown => unknown(code, needed, other),
    }
}

fn unknown(code: Code, needed: bool, other: Other) -> Option<Finding> {
    // Why it is not known of programs is a gap of its own.
    if code != Code::IpvsKernel {
        return None;
    }
    match (needed, other) {
        (false, Other::Yes) => {
            Some(Finding::ok(code, "whether its modules are there cannot be seen from here; not needed here"))
        }
        (true, _) | (false, Other::No | Other::Unknown) => Some(Finding::warn(
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
