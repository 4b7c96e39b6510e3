//! Static pods: what kubelet starts from files of this node.

use lb_core::doctor::{Code, Facts};
use serde_yaml::Value;

use super::{Host, known};

/// Where kubeadm has kubelet look (staticPodPath).
const DIRECTORY: &str = "/etc/kubernetes/manifests";

/// A container of a static pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// The file.
    pub(super) file: String,
    /// The container's name.
    pub(super) name: String,
    /// Command and arguments.
    pub(super) arguments: Vec<String>,
    /// The environment, as far as it is written as text.
    pub(super) environment: Vec<(String, String)>,
}

/// Every container of every static pod. A file that is no manifest has none.
pub(super) fn read(host: &Host, facts: &mut Facts) -> Vec<Container> {
    let files = host.list(DIRECTORY, &[".yaml", ".yml", ".json"]);
    let files = known(facts, Code::VipCidr, format!("list {DIRECTORY}"), files).unwrap_or_default();
    let mut found = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text = known(facts, Code::VipCidr, format!("read {name}"), host.read(&file)).flatten();
        let pod: Value = serde_yaml::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let containers = pod["spec"]["containers"].as_sequence().into_iter().flatten();
        found.extend(containers.map(|container| parse(&name, container)));
    }
    found
}

fn parse(file: &str, container: &Value) -> Container {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let words =
        |value: &Value| value.as_sequence().into_iter().flatten().filter_map(text).collect::<Vec<_>>();
    let pair = |entry: &Value| Some((text(&entry["name"])?, text(&entry["value"])?));
    Container {
        file: file.to_owned(),
        name: text(&container["name"]).unwrap_or_default(),
        arguments: [words(&container["command"]), words(&container["args"])].concat(),
        environment: container["env"].as_sequence().into_iter().flatten().filter_map(pair).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_manifests_arguments_and_environment_are_read_and_what_is_none_is_passed_by() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("etc/kubernetes/manifests");
        fs::create_dir_all(&manifests).unwrap();
        let pod = "spec:\n  containers:\n  - name: kube-apiserver\n    command: [kube-apiserver, --a=1]\n    args: [--b]\n    \
                   env: [{name: HTTPS_PROXY, value: 'http://p'}, {name: X, valueFrom: {}}]\n";
        fs::write(manifests.join("api.yaml"), pod).unwrap();
        fs::write(manifests.join("broken.yaml"), "{{").unwrap();
        fs::write(manifests.join("list.yaml"), "[1]").unwrap();
        let mut facts = Facts::default();
        let found = read(&Host::new(dir.path()), &mut facts);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].arguments, ["kube-apiserver", "--a=1", "--b"]);
        assert_eq!(found[0].environment, [("HTTPS_PROXY".to_owned(), "http://p".to_owned())]);
        assert!(facts.gaps.is_empty(), "{:?}", facts.gaps);
    }
}
