//! The cluster's address ranges, as far as this node's files and processes tell them.

use std::io;

use lb_core::doctor::{CidrFact, CidrUse, Code, Facts};
use serde_json::Value;

use super::{
    Host, known,
    manifest::Container,
    processes::{Process, flag},
    variables,
};

/// Where CNI plugins are configured.
const CNI: &str = "/etc/cni/net.d";
/// Where flannel leaves what it got from the cluster.
const FLANNEL: &str = "/run/flannel/subnet.env";

/// The flags that carry ranges, separated by commas where there are two families.
const FLAGS: [(&str, CidrUse); 2] =
    [("--service-cluster-ip-range", CidrUse::Services), ("--cluster-cidr", CidrUse::Pods)];

/// The deepest that a CNI config is followed; the plugins' own go five deep.
const DEPTH: usize = 16;

pub(super) fn look(
    host: &Host,
    processes: &io::Result<Vec<Process>>,
    manifests: &[Container],
    facts: &mut Facts,
) {
    for container in manifests {
        of_arguments(&container.arguments, &container.file, facts);
    }
    for process in processes.iter().flatten() {
        of_arguments(&process.arguments, &format!("the process {}", process.name), facts);
    }
    let files = host.list(CNI, &[".conf", ".conflist", ".json"]);
    for file in known(facts, Code::VipCidr, format!("list {CNI}"), files).unwrap_or_default() {
        let name = file.display().to_string();
        let text = known(facts, Code::VipCidr, format!("read {name}"), host.read(&file)).flatten();
        let config: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let mut subnets = Vec::new();
        collect_subnets(&config, DEPTH, &mut subnets);
        add(CidrUse::Pods, &subnets.join(","), &name, facts);
    }
    let flannel = known(facts, Code::VipCidr, format!("read {FLANNEL}"), host.read(FLANNEL)).flatten();
    for (name, value) in variables::of_file(&flannel.unwrap_or_default()) {
        if matches!(name.as_str(), "FLANNEL_NETWORK" | "FLANNEL_IPV6_NETWORK") {
            add(CidrUse::Pods, &value, FLANNEL, facts);
        }
    }
    facts.cidrs.sort();
    facts.cidrs.dedup_by(|a, b| (a.used_by, &a.cidr) == (b.used_by, &b.cidr));
}

fn of_arguments(arguments: &[String], source: &str, facts: &mut Facts) {
    for (name, used_by) in FLAGS {
        add(used_by, flag(arguments, name).unwrap_or_default(), source, facts);
    }
}

fn add(used_by: CidrUse, list: &str, source: &str, facts: &mut Facts) {
    let cidrs = list.split(',').map(str::trim).filter(|cidr| cidr.contains('/'));
    let fact = |cidr: &str| CidrFact { used_by, cidr: cidr.to_owned(), source: source.to_owned() };
    facts.cidrs.extend(cidrs.map(fact));
}

/// Every `subnet` in it, as host-local has it in `ranges`.
fn collect_subnets<'a>(value: &'a Value, depth: usize, found: &mut Vec<&'a str>) {
    if depth == 0 {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "subnet" => found.push(text),
                    value => collect_subnets(value, depth - 1, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_subnets(value, depth - 1, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ranges_come_from_manifests_processes_cni_and_flannel_each_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/cni/net.d")).unwrap();
        fs::create_dir_all(dir.path().join("run/flannel")).unwrap();
        let cni = r#"{"plugins":[{"ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.1.0/24"}]],"subnet":7}}]}"#;
        fs::write(dir.path().join("etc/cni/net.d/10-a.conflist"), cni).unwrap();
        fs::write(dir.path().join("etc/cni/net.d/20-b.conf"), "no JSON").unwrap();
        fs::write(
            dir.path().join("run/flannel/subnet.env"),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_MTU=1450\n",
        )
        .unwrap();
        let arguments = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let api = Container {
            file: "/etc/kubernetes/manifests/kube-apiserver.yaml".to_owned(),
            arguments: arguments(&["--service-cluster-ip-range=10.96.0.0/12,fd00::/112"]),
            ..Container::default()
        };
        let manager = Process {
            name: "kube-controller-manager",
            arguments: arguments(&[
                "--cluster-cidr=10.244.0.0/16",
                "--service-cluster-ip-range=10.96.0.0/12",
            ]),
            root: "/".into(),
        };
        let mut facts = Facts::default();
        look(&Host::new(dir.path()), &Ok(vec![manager]), &[api], &mut facts);
        let found: Vec<_> = facts.cidrs.iter().map(|fact| (fact.used_by, fact.cidr.as_str())).collect();
        assert_eq!(
            found,
            [
                (CidrUse::Services, "10.96.0.0/12"),
                (CidrUse::Services, "fd00::/112"),
                (CidrUse::Pods, "10.244.0.0/16"),
                (CidrUse::Pods, "10.244.1.0/24"),
            ]
        );
        assert!(facts.gaps.is_empty(), "{:?}", facts.gaps);
    }
}
