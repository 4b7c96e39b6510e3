//! kube-proxy's IPVS mode, from its interface, its command line and its config, which it has in a file of its container.

use std::{io, path::Path};

use lb_core::doctor::{CidrFact, CidrUse, Code, Facts, KubeProxyFact};
use serde_yaml::Value;

use super::{
    Host, gap,
    processes::{Process, flag},
};

/// What it makes in IPVS mode, to carry the cluster IPs (pkg/proxy/ipvs/proxier.go).
const INTERFACE: &str = "kube-ipvs0";

/// What is known of a kube-proxy.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    mode: Option<String>,
    exclude: Vec<String>,
    cluster_cidr: Option<String>,
}

pub(super) fn look(host: &Host, processes: &io::Result<Vec<Process>>, facts: &mut Facts) {
    let interface = host.path(format!("/sys/class/net/{INTERFACE}")).exists();
    let process = processes.iter().flatten().find(|process| process.name == "kube-proxy");
    let settings = process.and_then(|process| match settings(process) {
        Ok(settings) => Some(settings),
        Err(error) => {
            gap(facts, Code::KubeProxy, "read kube-proxy's config", error);
            None
        }
    });
    let mode = settings.as_ref().and_then(|settings| settings.mode.as_deref());
    facts.kube_proxy = match (mode, interface) {
        (Some("ipvs"), _) => Some("its config".to_owned()),
        // What an earlier kube-proxy left.
        (Some(_), _) | (None, false) => None,
        (None, true) => Some(format!("there is an interface {INTERFACE}")),
    }
    .map(|seen| KubeProxyFact { seen, exclude: settings.as_ref().map(|settings| settings.exclude.clone()) });
    let cidrs = settings.and_then(|settings| settings.cluster_cidr).unwrap_or_default();
    let cidrs = cidrs.split(',').map(str::trim).filter(|cidr| !cidr.is_empty()).map(str::to_owned);
    let source = || "kube-proxy's config".to_owned();
    facts.cidrs.extend(cidrs.map(|cidr| CidrFact { used_by: CidrUse::Pods, cidr, source: source() }));
}

/// From the config file that the command line names, as the process sees it, and from flags where it names none.
fn settings(process: &Process) -> io::Result<Settings> {
    let list = |text: &str| text.split(',').map(|cidr| cidr.trim().to_owned()).collect::<Vec<_>>();
    let Some(file) = flag(&process.arguments, "--config") else {
        let text = |name| flag(&process.arguments, name).map(str::to_owned);
        return Ok(Settings {
            mode: text("--proxy-mode"),
            exclude: text("--ipvs-exclude-cidrs").map(|text| list(&text)).unwrap_or_default(),
            cluster_cidr: text("--cluster-cidr"),
        });
    };
    let text = Host::new(&process.root).read(Path::new(file))?;
    let text = text.ok_or(io::ErrorKind::NotFound)?;
    let config: Value = serde_yaml::from_str(&text).map_err(io::Error::other)?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let exclude = config["ipvs"]["excludeCIDRs"].as_sequence();
    Ok(Settings {
        mode: text(&config["mode"]),
        exclude: exclude.into_iter().flatten().filter_map(text).collect(),
        cluster_cidr: text(&config["clusterCIDR"]),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn process(dir: &Path, arguments: &[&str]) -> io::Result<Vec<Process>> {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Ok(vec![Process { name: "kube-proxy", arguments, root: dir.join("container") }])
    }

    fn looked(dir: &Path, processes: &io::Result<Vec<Process>>) -> Facts {
        let mut facts = Facts::default();
        look(&Host::new(dir), processes, &mut facts);
        facts
    }

    #[test]
    fn its_config_is_read_in_its_own_container() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("container/var/lib/kube-proxy")).unwrap();
        let file = dir.path().join("container/var/lib/kube-proxy/config.conf");
        let config = "mode: ipvs\nclusterCIDR: 10.244.0.0/16\nipvs: {excludeCIDRs: [10.103.97.2/32]}\n";
        fs::write(&file, config).unwrap();
        let processes = process(dir.path(), &["--config=/var/lib/kube-proxy/config.conf"]);
        let facts = looked(dir.path(), &processes);
        let proxy = facts.kube_proxy.unwrap();
        assert_eq!(proxy.exclude, Some(vec!["10.103.97.2/32".to_owned()]));
        assert_eq!(facts.cidrs[0].cidr, "10.244.0.0/16");

        fs::write(&file, "mode: ''\nipvs: {excludeCIDRs: null}\n").unwrap();
        fs::create_dir_all(dir.path().join("sys/class/net/kube-ipvs0")).unwrap();
        let proxy = looked(dir.path(), &processes).kube_proxy.unwrap();
        assert_eq!(proxy.exclude, Some(Vec::new()));

        fs::write(&file, "mode: iptables\n").unwrap();
        assert_eq!(looked(dir.path(), &processes).kube_proxy, None, "the interface is a leftover");

        fs::remove_file(&file).unwrap();
        let facts = looked(dir.path(), &processes);
        assert_eq!(facts.kube_proxy.unwrap().exclude, None);
        assert_eq!(facts.gaps[0].code, Code::KubeProxy);
    }

    #[test]
    fn without_a_config_its_flags_count() {
        let dir = tempfile::tempdir().unwrap();
        let processes =
            process(dir.path(), &["--proxy-mode=ipvs", "--ipvs-exclude-cidrs", "10.0.0.0/8, 1.2.3.4/32"]);
        let proxy = looked(dir.path(), &processes).kube_proxy.unwrap();
        assert_eq!(proxy.exclude.unwrap(), ["10.0.0.0/8", "1.2.3.4/32"]);
    }

    #[test]
    fn the_interface_alone_tells_the_mode_but_not_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(looked(dir.path(), &Ok(Vec::new())).kube_proxy, None);
        fs::create_dir_all(dir.path().join("sys/class/net/kube-ipvs0")).unwrap();
        let proxy = looked(dir.path(), &Ok(Vec::new())).kube_proxy.unwrap();
        assert!(proxy.seen.contains("kube-ipvs0") && proxy.exclude.is_none());
    }
}
