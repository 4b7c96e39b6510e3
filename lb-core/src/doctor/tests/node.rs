use super::*;
use crate::hosts::ForeignLine;
use Severity::{Fail, Ok as Good, Warn};

fn hosts(facts: &mut Facts, status: Status) {
    facts.hosts = Some(HostsFact { path: "/etc/hosts".into(), status: Ok(status) });
}

fn shadowed(facts: &mut Facts) {
    let by = vec![ForeignLine { number: 3, text: format!("192.168.0.9 {NAME}") }];
    hosts(facts, Status::Shadowed { by });
}

#[test]
fn our_entry_in_the_hosts_file() {
    check(
        Code::HostsEntry,
        &[
            (|_| (), Good, "/etc/hosts: in place"),
            (|f| hosts(f, Status::Missing), Fail, "no entry of ours"),
            (|f| hosts(f, Status::Differs), Fail, "another one, or damaged"),
            (
                |f| {
                    f.agent = Some(AgentFact::NotRunning);
                    hosts(f, Status::Missing);
                },
                Warn,
                "no entry of ours",
            ),
            (
                |f| {
                    set_config(f, |overrides| overrides.hosts_manage = Some(false));
                    hosts(f, Status::Missing);
                },
                Warn,
                "no entry of ours",
            ),
            (
                |f| {
                    set_config(f, |overrides| overrides.hostname = None);
                    hosts(f, Status::Missing);
                },
                Good,
                "no entry is wanted",
            ),
        ],
    );
}

#[test]
fn other_lines_for_our_name() {
    check(
        Code::HostsForeign,
        &[
            (|_| (), Good, "no other line"),
            (shadowed, Fail, "/etc/hosts:3: maps our name elsewhere: 192.168.0.9"),
            (
                |f| {
                    f.agent = Some(AgentFact::NotRunning);
                    shadowed(f);
                },
                Warn,
                "maps our name elsewhere",
            ),
            (
                |f| {
                    f.agent = Some(AgentFact::NotRunning);
                    set_config(f, |overrides| overrides.hosts_manage = Some(false));
                    shadowed(f);
                },
                Fail,
                "maps our name elsewhere",
            ),
        ],
    );
}

#[test]
fn cloud_init() {
    fn set(facts: &mut Facts, value: &str) {
        facts.cloud_init = Some(DropIn { path: "/etc/cloud/cloud.cfg".into(), value: value.to_owned() });
    }
    check(
        Code::HostsCloudInit,
        &[
            (|_| (), Good, "does not manage"),
            (|f| set(f, "localhost"), Good, "leaves our entry alone"),
            (|f| set(f, "False"), Good, "leaves our entry alone"),
            (|f| set(f, "True"), Warn, "anew at each boot"),
            (|f| set(f, "'template'"), Warn, "anew at each boot"),
        ],
    );
}

#[test]
fn nsswitch() {
    fn set(facts: &mut Facts, line: &str) {
        facts.nsswitch = Some(line.to_owned());
    }
    check(
        Code::Nsswitch,
        &[
            (|f| set(f, "files mdns4_minimal [NOTFOUND=return] dns"), Good, "files"),
            (|f| set(f, "mymachines resolve [!UNAVAIL=return] files myhostname dns"), Good, "files"),
            (|f| set(f, "dns files"), Warn, "dns comes before"),
            (|f| set(f, "mdns4_minimal [NOTFOUND=return] files dns"), Fail, "may end the search"),
            (|f| set(f, "mdns4_minimal [ NOTFOUND=return ] files"), Fail, "may end the search"),
            (|f| set(f, "dns[!UNAVAIL=return]files"), Fail, "may end the search"),
            (|f| set(f, "dns"), Fail, "is not asked"),
            (|f| set(f, "resolve dns"), Warn, "unless systemd-resolved"),
        ],
    );
}

#[test]
fn proxies() {
    fn set(facts: &mut Facts, component: bool, no_proxy: &str) {
        facts.proxies = vec![ProxyFact {
            source: "kubelet.service".to_owned(),
            component,
            proxy: "http://proxy:3128".to_owned(),
            no_proxy: no_proxy.to_owned(),
        }];
    }
    check(
        Code::Proxy,
        &[
            (|_| (), Good, "no proxy is set"),
            (|f| set(f, true, "10.103.97.2,.cluster.local"), Good, "has the VIP and the hostname"),
            (|f| set(f, false, "10.0.0.0/8"), Warn, "NO_PROXY lacks apiserver.cluster.local"),
            (|f| set(f, true, ""), Fail, "http://proxy:3128, and NO_PROXY lacks 10.103.97.2, apiserver"),
            (
                |f| {
                    set_config(f, |overrides| overrides.hostname = None);
                    set(f, true, "10.103.97.2");
                },
                Good,
                "has the VIP",
            ),
        ],
    );
}
