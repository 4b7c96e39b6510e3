//! Kernel modules that a dataplane may need, from files: asking the kernel for them would load them.

use std::io;

use lb_core::doctor::{Code, Facts, Module};

use super::{Host, gap};

/// What the IPVS dataplane may need, and before Linux 6.6 the packet dataplane.
const NAMES: [&str; 7] =
    ["ip_vs", "ip_vs_wrr", "ip_vs_wlc", "ip_vs_mh", "nf_tables", "sch_ingress", "cls_bpf"];

/// Where distributions keep modules, the second one where /lib is no link to /usr/lib.
const DIRECTORIES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];

pub(super) fn look(host: &Host, facts: &mut Facts) {
    match lists(host, &facts.kernel) {
        Ok(lists) => {
            let states = NAMES.map(|name| (name.to_owned(), state(host, lists.as_ref(), name)));
            facts.modules = states.into();
        }
        Err(error) => gap(facts, Code::IpvsKernel, "read the lists of kernel modules", error),
    }
}

struct Lists {
    builtin: String,
    on_disk: String,
}

fn lists(host: &Host, release: &str) -> io::Result<Option<Lists>> {
    for directory in DIRECTORIES {
        let read = |file: &str| host.read(format!("{directory}/{release}/{file}"));
        let (builtin, on_disk) = (read("modules.builtin")?, read("modules.dep")?);
        if builtin.is_some() || on_disk.is_some() {
            let text = Option::unwrap_or_default;
            return Ok(Some(Lists { builtin: text(builtin), on_disk: text(on_disk) }));
        }
    }
    Ok(None)
}

/// A module that is loaded, or built in and has parameters, has a directory in /sys/module.
fn state(host: &Host, lists: Option<&Lists>, name: &str) -> Module {
    if host.path(format!("/sys/module/{name}")).exists() {
        return Module::Present;
    }
    match lists {
        Some(lists) if lists.builtin.lines().any(|line| names(line, name)) => Module::Present,
        Some(lists) if lists.on_disk.lines().any(|line| names(line, name)) => Module::Loadable,
        Some(_) => Module::Absent,
        None => Module::Unknown,
    }
}

/// `kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/...`, modules.dep(5); the same without the colon in modules.builtin.
fn names(line: &str, module: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == module)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn looked(root: &std::path::Path) -> Facts {
        let mut facts = Facts { kernel: "6.1.0".to_owned(), ..Facts::default() };
        look(&Host::new(root), &mut facts);
        facts
    }

    #[test]
    fn modules_are_found_loaded_built_in_on_disk_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("lib/modules/6.1.0");
        fs::create_dir_all(&lists).unwrap();
        fs::create_dir_all(dir.path().join("sys/module/nf_tables")).unwrap();
        fs::write(lists.join("modules.builtin"), "kernel/net/netfilter/ipvs/ip_vs.ko\n").unwrap();
        let dep = "kernel/net/ip_vs_wrr.ko.xz: kernel/net/ip_vs.ko.xz\nkernel/net/ip-vs-wlc.ko: a\n";
        fs::write(lists.join("modules.dep"), dep).unwrap();
        let facts = looked(dir.path());
        for (name, state) in [
            ("nf_tables", Module::Present),
            ("ip_vs", Module::Present),
            ("ip_vs_wrr", Module::Loadable),
            ("ip_vs_wlc", Module::Loadable),
            ("ip_vs_mh", Module::Absent),
        ] {
            assert_eq!(facts.modules[name], state, "{name}");
        }
        assert!(facts.gaps.is_empty(), "{:?}", facts.gaps);
    }

    #[test]
    fn without_a_directory_of_modules_nobody_knows() {
        let dir = tempfile::tempdir().unwrap();
        let facts = looked(dir.path());
        assert_eq!(facts.modules["ip_vs"], Module::Unknown);
    }
}
