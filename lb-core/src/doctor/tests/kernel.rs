use super::*;
use Severity::{Fail, Ok as Good, Warn};

fn dataplane(facts: &mut Facts, kind: &str) {
    set_config(facts, |overrides| overrides.dataplane = Some(kind.to_owned()));
}

fn on_both(facts: &mut Facts) {
    if let Some(AgentFact::Running { dataplanes, .. }) = &mut facts.agent {
        *dataplanes = Dataplanes::SocketAndPacket;
    }
}

fn without_ipvs(facts: &mut Facts) {
    facts.modules.insert("ip_vs".to_owned(), Module::Absent);
}

#[test]
fn config() {
    check(
        Code::Config,
        &[
            (|_| (), Good, "1 service, 2 backends"),
            (|f| f.config = ConfigFact::None, Warn, "no config"),
            (|f| f.config = ConfigFact::Bad("line 3: port 0".to_owned()), Fail, "port 0"),
        ],
    );
}

#[test]
fn capabilities() {
    check(
        Code::Capabilities,
        &[(|_| (), Good, "may do"), (|f| f.missing_capabilities = Some(vec!["CAP_BPF"]), Fail, "CAP_BPF")],
    );
}

#[test]
fn the_agent() {
    let warned: Change = |facts| {
        if let Some(AgentFact::Running { warnings, .. }) = &mut facts.agent {
            warnings.push("a restart is due".to_owned());
        }
    };
    check(
        Code::Agent,
        &[
            (|_| (), Good, "lbctl 0.1.0 runs, with socket"),
            (on_both, Good, "lbctl 0.1.0 runs, with socket and packet"),
            (|f| f.agent = Some(AgentFact::NotRunning), Warn, "no agent runs"),
            (warned, Warn, "a restart is due"),
        ],
    );
}

#[test]
fn auto_takes_what_can_be_used_and_fails_where_nothing_can() {
    let only_packet: Change = |facts| {
        without_ipvs(facts);
        facts.programs = Some(Err(lack()));
    };
    let none: Change = |facts| {
        without_ipvs(facts);
        facts.programs = Some(Err(lack()));
        facts.packet_programs = Some(Err(lack()));
    };
    let undecided: Change = |facts| {
        facts.programs = None;
        facts.modules.clear();
    };
    check(
        Code::Dataplane,
        &[
            (|_| (), Good, "auto takes socket"),
            (without_ipvs, Good, "auto takes socket"),
            (|f| f.programs = Some(Err(lack())), Good, "auto takes ipvs: socket cannot be used"),
            (|f| f.cgroup = Some(Err(lack())), Good, "auto takes ipvs"),
            (only_packet, Good, "auto takes packet: socket and ipvs cannot be used"),
            (
                |f| {
                    f.programs = Some(Err(lack()));
                    f.modules.clear();
                },
                Good,
                "auto takes ipvs if its modules are there",
            ),
            (none, Fail, "none can be used: socket: Linux 6.1.0-18-amd64: it is missing; ipvs: "),
            (undecided, Warn, "unknown"),
        ],
    );
}

#[test]
fn a_dataplane_that_is_named_must_be_usable_itself() {
    check(
        Code::Dataplane,
        &[
            (|f| dataplane(f, "socket"), Good, "socket, named in the config, can be used"),
            (|f| dataplane(f, "ipvs"), Good, "ipvs, named in the config, can be used"),
            (|f| dataplane(f, "packet"), Good, "packet, named in the config, can be used"),
            (|f| dataplane(f, "socket,packet"), Good, "socket and packet, named in the config, can be used"),
            (
                |f| {
                    dataplane(f, "socket,packet");
                    f.packet_programs = Some(Err(lack()));
                },
                Fail,
                "packet, named in the config, cannot be used",
            ),
            (
                |f| {
                    dataplane(f, "socket");
                    f.programs = Some(Err(lack()));
                },
                Fail,
                "it is missing",
            ),
            (
                |f| {
                    dataplane(f, "ipvs");
                    without_ipvs(f);
                },
                Fail,
                "ip_vs",
            ),
        ],
    );
}

#[test]
fn the_socket_dataplanes_kernel() {
    check(
        Code::SocketKernel,
        &[
            (|_| (), Good, "Linux 6.1.0-18-amd64 takes the programs"),
            (|f| f.programs = Some(Ok(Programs { set_retval: false })), Good, "EPERM"),
            (|f| f.programs = Some(Err(lack())), Good, "not needed here"),
            (
                |f| {
                    f.programs = Some(Err(lack()));
                    f.packet_programs = None;
                    f.modules.clear();
                },
                Warn,
                "it is missing",
            ),
            (
                |f| {
                    f.programs = Some(Err(lack()));
                    f.packet_programs = Some(Err(lack()));
                    without_ipvs(f);
                },
                Fail,
                "it is missing",
            ),
        ],
    );
}

#[test]
fn the_ipvs_dataplanes_kernel() {
    let on_disk: Change = |facts| {
        facts.modules.insert("ip_vs".to_owned(), Module::Loadable);
    };
    let sticky: Change = |facts| {
        set_config(facts, |overrides| {
            overrides.dataplane = Some("ipvs".to_owned());
            overrides.policy = Some("sticky".to_owned());
        });
        facts.modules.insert("ip_vs_mh".to_owned(), Module::Absent);
    };
    let only_unknown: Change = |facts| {
        without_ipvs(facts);
        facts.programs = None;
        facts.packet_programs = None;
    };
    check(
        Code::IpvsKernel,
        &[
            (|_| (), Good, "has ip_vs, ip_vs_wrr, nf_tables"),
            (on_disk, Good, "ip_vs not loaded yet"),
            (without_ipvs, Good, "not needed here"),
            (only_unknown, Warn, "has no ip_vs"),
            (|f| f.modules.clear(), Good, "cannot be seen from here; not needed here"),
            (
                |f| {
                    f.modules.clear();
                    f.programs = Some(Err(lack()));
                    f.packet_programs = None;
                },
                Warn,
                "unknown: neither",
            ),
            (sticky, Fail, "has no ip_vs_mh"),
        ],
    );
}

#[test]
fn why_the_modules_are_unknown_is_told_once() {
    let (severities, text) = found(Code::IpvsKernel, |facts| {
        facts.modules.clear();
        facts.gaps.push(Gap { code: Code::IpvsKernel, why: "permission denied".to_owned() });
    });
    assert_eq!(severities, [Warn], "{text}");
}

#[test]
fn the_cgroup_root() {
    check(
        Code::CgroupRoot,
        &[
            (|_| (), Good, "/sys/fs/cgroup"),
            (|f| f.cgroup = Some(Err(lack())), Warn, "it is missing"),
            (
                |f| {
                    dataplane(f, "ipvs");
                    f.cgroup = Some(Err(lack()));
                },
                Good,
                "ipvs does not need it",
            ),
            (
                |f| {
                    dataplane(f, "packet");
                    f.cgroup = Some(Err(lack()));
                },
                Good,
                "packet does not need it",
            ),
        ],
    );
}

#[test]
fn bpffs() {
    let unmounted: Change = |facts| facts.bpffs = Some(("/sys/fs/bpf/lbctl".into(), false));
    check(
        Code::Bpffs,
        &[
            (|_| (), Good, "/sys/fs/bpf/lbctl lies on a BPF file system"),
            (unmounted, Warn, "mounts one"),
            (
                |f| {
                    f.agent = agent(DataplaneKind::Ipvs, None);
                    f.bpffs = Some(("/sys/fs/bpf/lbctl".into(), false));
                },
                Good,
                "ipvs does not need it",
            ),
        ],
    );
}

#[test]
fn locked_memory_matters_before_linux_5_11_only() {
    check(
        Code::Memlock,
        &[
            (|_| (), Good, "does not limit"),
            (|f| f.kernel = "5.11.0".to_owned(), Good, "does not limit"),
            (|f| f.kernel = "5.10.0-28-amd64".to_owned(), Good, "as this one did"),
            (
                |f| {
                    f.kernel = "5.10.0-28-amd64".to_owned();
                    f.programs = None;
                },
                Warn,
                "64 KiB",
            ),
            (
                |f| {
                    f.kernel = "5.10.0".to_owned();
                    f.memlock = Some(Memlock::Unlimited);
                },
                Good,
                "unlimited",
            ),
            (
                |f| {
                    f.kernel = "5.10.0".to_owned();
                    f.memlock = Some(Memlock::Bytes(64 << 20));
                },
                Good,
                "64 MiB",
            ),
        ],
    );
}

#[test]
fn ending_sockets() {
    check(
        Code::SockDestroy,
        &[(|_| (), Good, "can end sockets"), (|f| f.sock_destroy = Some(false), Warn, "cannot end sockets")],
    );
}

#[test]
fn firewalld_matters_on_masters_and_with_ipvs() {
    let on_master: Change = |facts| {
        facts.firewalld = Some(true);
        facts.own_addresses = Some(BTreeSet::from(["192.168.0.2".parse().unwrap()]));
    };
    let with_ipvs: Change = |facts| {
        facts.firewalld = Some(true);
        facts.agent = agent(DataplaneKind::Ipvs, None);
    };
    check(
        Code::Firewalld,
        &[
            (|_| (), Good, "not running"),
            (|f| f.firewalld = Some(true), Good, "not its business"),
            (on_master, Warn, "a backend is on this node"),
            (with_ipvs, Warn, "IPVS forwards"),
        ],
    );
}
