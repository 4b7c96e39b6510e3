mod certificate;
mod hooks;
mod kernel;
mod node;
mod packet;
mod vip;

use std::collections::BTreeSet;

use super::*;
use crate::{
    config::{Config, Overrides, load},
    hosts::Status,
    model::{DataplaneKind, Dataplanes},
};

const VIP: &str = "10.103.97.2:6443";
const NAME: &str = "apiserver.cluster.local";
const BACKENDS: [&str; 2] = ["192.168.0.2:6443", "192.168.0.3:6443"];

fn config(change: impl FnOnce(&mut Overrides)) -> Config {
    let mut overrides = Overrides {
        vip: Some(VIP.to_owned()),
        backends: BACKENDS.map(str::to_owned).into(),
        hostname: Some(NAME.to_owned()),
        ..Overrides::default()
    };
    change(&mut overrides);
    load(None, &overrides).unwrap()
}

fn set_config(facts: &mut Facts, change: impl FnOnce(&mut Overrides)) {
    facts.config = ConfigFact::Good(Box::new(config(change)));
}

fn agent(dataplane: DataplaneKind, ineffective: Option<&str>) -> Option<AgentFact> {
    let ineffective = ineffective.map(str::to_owned);
    let (version, dataplanes) = ("0.1.0".to_owned(), dataplane.into());
    Some(AgentFact::Running { version, dataplanes, ineffective, warnings: Vec::new() })
}

fn lack() -> Lack {
    Lack { what: "it is missing".to_owned(), remedy: "get it".to_owned() }
}

fn certificate() -> CertificateFact {
    CertificateFact {
        origin: Origin::Backend(BACKENDS[0].parse().unwrap()),
        names: vec!["kubernetes".to_owned(), NAME.to_owned()],
        addresses: vec!["10.96.0.1".parse().unwrap(), "10.103.97.2".parse().unwrap()],
        not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2027-01-01T00:00:00Z".parse().unwrap(),
    }
}

/// A node on which all is known and well.
fn healthy() -> Facts {
    let module = |name: &str| (name.to_owned(), Module::Present);
    let backend = |address: &str| BackendFact {
        address: address.parse().unwrap(),
        answer: Ok(AnswerFact {
            clocks: Some(("2026-06-01T00:00:01Z".parse().unwrap(), "2026-06-01T00:00:00Z".parse().unwrap())),
        }),
    };
    let cidr = |used_by, cidr: &str| CidrFact { used_by, cidr: cidr.to_owned(), source: "a file".to_owned() };
    Facts {
        now: "2026-06-01T00:00:00Z".parse().unwrap(),
        config: ConfigFact::Good(Box::new(config(|_| ()))),
        missing_capabilities: Some(Vec::new()),
        agent: agent(DataplaneKind::Socket, None),
        kernel: "6.1.0-18-amd64".to_owned(),
        missing_for_packets: Vec::new(),
        programs: Some(Ok(Programs { set_retval: true })),
        packet_programs: Some(Ok(())),
        packet: Some(PacketFacts {
            uplinks: vec!["eth0".to_owned()],
            facing: vec!["br0".to_owned()],
            ports: (15_360, 29_999),
            ..PacketFacts::default()
        }),
        cgroup: Some(Ok("/sys/fs/cgroup".into())),
        lives_in_cgroup: true,
        bpffs: Some(("/sys/fs/bpf/lbctl".into(), true)),
        memlock: Some(Memlock::Bytes(64 << 10)),
        sock_destroy: Some(true),
        modules: [module("ip_vs"), module("ip_vs_wrr"), module("nf_tables")].into(),
        hooks: Some(HookFacts::default()),
        held: Some(DataplaneKind::Socket.into()),
        connects: vec![SelfConnect { vip: VIP.parse().unwrap(), peer: Ok(BACKENDS[0].parse().unwrap()) }],
        ipvs: Some(IpvsFacts::default()),
        kube_proxy: None,
        own_addresses: Some(BTreeSet::from(["192.168.0.10".parse().unwrap()])),
        links: Some(vec![LinkFact {
            interface: "eth0".to_owned(),
            network: "192.168.0.0/24".to_owned(),
            arp_ignore: 0,
        }]),
        cidrs: vec![cidr(CidrUse::Services, "10.96.0.0/16"), cidr(CidrUse::Pods, "10.244.0.0/16")],
        hosts: Some(HostsFact { path: "/etc/hosts".into(), status: Ok(Status::InPlace) }),
        cloud_init: None,
        nsswitch: Some("files dns".to_owned()),
        proxies: Vec::new(),
        members: std::collections::BTreeMap::new(),
        backends: BACKENDS.map(backend).into(),
        certificates: vec![certificate()],
        firewalld: Some(false),
        gaps: Vec::new(),
    }
}

type Change = fn(&mut Facts);

/// What a node says under a code that is healthy but for one thing: the findings' severities, and their texts.
fn found(code: Code, change: impl FnOnce(&mut Facts)) -> (Vec<Severity>, String) {
    let mut facts = healthy();
    change(&mut facts);
    let findings: Vec<_> =
        judge(&facts).findings.into_iter().filter(|finding| finding.code == code).collect();
    for finding in &findings {
        assert_eq!(finding.remedy.is_some(), finding.severity != Severity::Ok, "{finding:?}");
    }
    let texts: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
    (findings.iter().map(|finding| finding.severity).collect(), texts.join("\n"))
}

/// Each row: what is different, how bad that is, and a part of what is said.
fn check(code: Code, rows: &[(Change, Severity, &str)]) {
    for (row, (change, severity, part)) in rows.iter().enumerate() {
        let (severities, text) = found(code, change);
        assert_eq!(severities.iter().max(), Some(severity), "{code}, row {row}: {text}");
        assert!(text.contains(part), "{code}, row {row}: {text}");
    }
}

#[test]
fn a_healthy_node_has_a_good_word_for_every_code() {
    let report = judge(&healthy());
    let bad: Vec<_> = report.findings.iter().filter(|finding| finding.severity != Severity::Ok).collect();
    assert!(bad.is_empty(), "{bad:?}");
    for code in Code::ALL {
        assert!(report.findings.iter().any(|finding| finding.code == *code), "nothing about {code}");
    }
    assert_eq!((report.summary.warn, report.summary.fail), (0, 0));
    assert_eq!(report.verdict(), Verdict::Fine);
}

#[test]
fn where_nothing_is_known_nothing_fails() {
    let report = judge(&Facts::default());
    assert_eq!(report.summary.fail, 0, "{report:?}");
    assert!(report.summary.warn > 0);
    assert_eq!(report.verdict(), Verdict::Fine);
}

#[test]
fn what_could_not_be_learnt_is_a_warning_under_its_code_and_hides_nothing_else() {
    for code in Code::ALL {
        let (severities, text) = found(*code, |facts| {
            facts.gaps.push(Gap { code: *code, why: "failed to read it: no such thing".to_owned() });
        });
        assert_eq!(severities.iter().max(), Some(&Severity::Warn), "{text}");
        assert!(severities.len() > 1 && text.contains("unknown: failed to read it"), "{text}");
    }
}

#[test]
fn codes_are_in_order_unique_and_written_in_capitals() {
    let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
    assert!(texts.iter().all(|text| text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')), "{texts:?}");
    let codes: Vec<_> = judge(&healthy()).findings.iter().map(|finding| finding.code).collect();
    assert!(codes.is_sorted(), "{codes:?}");
}

#[test]
fn the_verdict_is_the_failure_that_explains_the_others() {
    let fail = |code| Finding::fail(code, "x", "y");
    for (codes, verdict) in [
        (&[][..], Verdict::Fine),
        (&[Code::Proxy], Verdict::Failing),
        (&[Code::Proxy, Code::Config], Verdict::BadConfig),
        (&[Code::Config, Code::Dataplane], Verdict::Lacking),
        (&[Code::SocketKernel], Verdict::Lacking),
        (&[Code::Dataplane, Code::Capabilities], Verdict::NotAllowed),
    ] {
        let report = Report::new(codes.iter().map(|code| fail(*code)).collect());
        assert_eq!(report.verdict(), verdict, "{codes:?}");
    }
    let warned = Report::new(vec![Finding::warn(Code::Dataplane, "x", "y")]);
    assert_eq!(warned.verdict(), Verdict::Fine, "warnings do not count");
}

#[test]
fn json_has_code_severity_message_and_remedy() {
    let report = Report::new(vec![Finding::warn(Code::HostsEntry, "no entry", "write it")]);
    let json = serde_json::to_value(&report).unwrap();
    let expected = serde_json::json!({
        "findings": [
            {"code": "HOSTS-ENTRY", "severity": "warn", "message": "no entry", "remedy": "write it"}
        ],
        "summary": {"ok": 0, "warn": 1, "fail": 0},
    });
    assert_eq!(json, expected);
}

#[test]
fn the_documentation_has_a_row_for_every_code_in_the_same_order() {
    let text = include_str!("../../../../docs/doctor.md");
    let rows =
        text.lines().skip_while(|line| *line != "## Codes").filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, codes);
}
