//! Where a proxy is set: this process, files that every login reads, systemd's units, static pods.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use lb_core::doctor::{Code, Facts, ProxyFact};

use super::{
    Host, known,
    manifest::Container,
    variables::{self, UnitLine},
};

/// Units that run with a proxy of their own, and whether they talk to the apiserver.
const UNITS: [(&str, bool); 4] =
    [("kubelet", true), ("containerd", false), ("crio", false), ("docker", false)];

/// Where units and their drop-ins lie, the weakest first: systemd.unit(5). Only the strongest of a unit's own files and
/// of drop-ins of one name counts; that they say different things about a proxy is not looked for.
const UNIT_DIRECTORIES: [&str; 4] =
    ["/lib/systemd/system", "/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"];

/// What Go, curl and most others read for https; the second for any scheme.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

type Variables = BTreeMap<String, String>;

pub(super) fn look(
    host: &Host,
    manifests: &[Container],
    own: impl Iterator<Item = (OsString, OsString)>,
    facts: &mut Facts,
) {
    let lossy = |text: OsString| text.to_string_lossy().into_owned();
    let own: Variables = own.map(|(name, value)| (lossy(name), lossy(value))).collect();
    let mut found = Vec::from_iter(fact("the environment of this process", false, &own));
    let file = "/etc/environment";
    found.extend(fact(file, false, &of_file(host, file, facts)));
    found.extend(manager(host, facts));
    for (unit, component) in UNITS {
        let (source, variables) = of_unit(host, unit, facts);
        found.extend(fact(&source, component, &variables));
    }
    for container in manifests {
        let variables = container.environment.iter().cloned().collect();
        found.extend(fact(&format!("{} ({})", container.name, container.file), true, &variables));
    }
    facts.proxies = found;
}

/// `None`: there is no proxy for https.
fn fact(source: &str, component: bool, variables: &Variables) -> Option<ProxyFact> {
    let first = |names: &[&str]| {
        let values = names.iter().filter_map(|name| variables.get(*name));
        values.map(String::as_str).find(|value| !value.is_empty()).map(str::to_owned)
    };
    Some(ProxyFact {
        source: source.to_owned(),
        component,
        proxy: first(&PROXIES)?,
        no_proxy: first(&EXCEPTIONS).unwrap_or_default(),
    })
}

fn read(host: &Host, path: &str, facts: &mut Facts) -> String {
    known(facts, Code::Proxy, format!("read {path}"), host.read(path)).flatten().unwrap_or_default()
}

fn of_file(host: &Host, path: &str, facts: &mut Facts) -> Variables {
    variables::of_file(&read(host, path, facts)).into_iter().collect()
}

/// The system manager's own, which every unit inherits.
fn manager(host: &Host, facts: &mut Facts) -> Option<ProxyFact> {
    let mut files = vec![PathBuf::from("/etc/systemd/system.conf")];
    files.extend(list(host, "/etc/systemd/system.conf.d", facts));
    let (read, variables) = of_lines(host, &files, "DefaultEnvironment", facts);
    fact(&named("every systemd unit", &read), true, &variables)
}

/// A unit with all its drop-ins, and where it was set.
fn of_unit(host: &Host, unit: &str, facts: &mut Facts) -> (String, Variables) {
    let mut files: Vec<_> =
        UNIT_DIRECTORIES.iter().map(|dir| PathBuf::from(format!("{dir}/{unit}.service"))).collect();
    for directory in UNIT_DIRECTORIES {
        files.extend(list(host, &format!("{directory}/{unit}.service.d"), facts));
    }
    let (read, variables) = of_lines(host, &files, "Environment", facts);
    (named(&format!("{unit}.service"), &read), variables)
}

fn list(host: &Host, directory: &str, facts: &mut Facts) -> Vec<PathBuf> {
    known(facts, Code::Proxy, format!("list {directory}"), host.list(directory, &[".conf"]))
        .unwrap_or_default()
}

fn named(what: &str, files: &[String]) -> String {
    match files.last() {
        Some(file) => format!("{what} ({file})"),
        None => what.to_owned(),
    }
}

/// The variables, and the files that set a proxy.
fn of_lines(host: &Host, files: &[PathBuf], key: &str, facts: &mut Facts) -> (Vec<String>, Variables) {
    let mut variables = Variables::new();
    let mut setting = Vec::new();
    let mut set = |file: &str, name: String, value: String, variables: &mut Variables| {
        if PROXIES.contains(&name.as_str()) {
            setting.push(file.to_owned());
        }
        variables.insert(name, value);
    };
    for file in files {
        let file = file.display().to_string();
        for line in variables::of_unit(&read(host, &file, facts), key) {
            match line {
                UnitLine::Set(name, value) => set(&file, name, value, &mut variables),
                UnitLine::Reset => variables.clear(),
                UnitLine::File(path) => {
                    for (name, value) in of_file(host, &path, facts) {
                        set(&path, name, value, &mut variables);
                    }
                }
            }
        }
    }
    (setting, variables)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn looked(root: &Path, own: &[(&str, &str)], manifests: &[Container]) -> Vec<ProxyFact> {
        let mut facts = Facts::default();
        let own = own.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        look(&Host::new(root), manifests, own, &mut facts);
        assert!(facts.gaps.is_empty(), "{:?}", facts.gaps);
        facts.proxies
    }

    #[test]
    fn without_a_proxy_there_is_nothing_to_say() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "etc/environment", "NO_PROXY=localhost\nHTTP_PROXY=http://p\n");
        assert_eq!(looked(dir.path(), &[("HTTPS_PROXY", "")], &[]), []);
    }

    #[test]
    fn a_units_proxy_and_its_exceptions_may_lie_in_different_files() {
        let dir = tempfile::tempdir().unwrap();
        let unit = "etc/systemd/system/kubelet.service.d";
        write(
            dir.path(),
            &format!("{unit}/10-proxy.conf"),
            "[Service]\nEnvironment=HTTPS_PROXY=http://p:3128\n",
        );
        write(
            dir.path(),
            "usr/lib/systemd/system/kubelet.service.d/20.conf",
            "EnvironmentFile=-/etc/default/kubelet\n",
        );
        write(dir.path(), "etc/default/kubelet", "NO_PROXY=10.0.0.0/8\n");
        let found = looked(dir.path(), &[], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].proxy.as_str(), found[0].no_proxy.as_str()), ("http://p:3128", "10.0.0.0/8"));
        assert!(found[0].component && found[0].source.contains("10-proxy.conf"), "{found:?}");
    }

    #[test]
    fn every_place_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "etc/environment", "https_proxy=http://e\n");
        write(
            dir.path(),
            "etc/systemd/system.conf.d/p.conf",
            "[Manager]\nDefaultEnvironment=HTTPS_PROXY=http://m\n",
        );
        write(
            dir.path(),
            "etc/systemd/system/containerd.service.d/p.conf",
            "Environment=\"HTTPS_PROXY=http://c\"\n",
        );
        let pod = Container {
            file: "/etc/kubernetes/manifests/a.yaml".to_owned(),
            name: "a".to_owned(),
            environment: vec![("HTTPS_PROXY".to_owned(), "http://s".to_owned())],
            ..Container::default()
        };
        let found = looked(dir.path(), &[("ALL_PROXY", "http://o")], &[pod]);
        let proxies: Vec<_> = found.iter().map(|fact| (fact.proxy.as_str(), fact.component)).collect();
        assert_eq!(
            proxies,
            [
                ("http://o", false),
                ("http://e", false),
                ("http://m", true),
                ("http://c", false),
                ("http://s", true)
            ]
        );
    }
}
