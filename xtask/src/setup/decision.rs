//! The pure decision what to do about the needs that a machine does not meet.

use super::{
    machine::Machine,
    needs::{Invocation, Need, Purpose, Remedy},
};

/// A thing to do, in the order to do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Refresh the package lists.
    UpdatePackageLists,
    /// Install these Debian packages.
    InstallPackages(Vec<&'static str>),
    /// Run this.
    Run(Invocation),
}

/// Those of `needs` that serve one of `purposes` and that the machine lacks, in the order of the table.
pub(crate) fn missing<'a>(needs: &'a [Need], purposes: &[Purpose], machine: &dyn Machine) -> Vec<&'a Need> {
    let wanted = needs.iter().filter(|need| purposes.contains(&need.purpose));
    let absent: Vec<&Need> = wanted.filter(|need| !(need.present)(machine)).collect();
    let is_absent = |name: &str| absent.iter().any(|need| need.what == name);
    absent.iter().filter(|need| need.only_for.is_none_or(is_absent)).copied().collect()
}

/// What to do about what is missing: all packages at once, then the commands in the order of the table.
pub(crate) fn steps(missing: &[&Need]) -> Vec<Step> {
    let mut packages = Vec::new();
    let mut commands = Vec::new();
    for need in missing {
        match need.remedy {
            Remedy::Package(name) => packages.push(name),
            Remedy::Run(invocation) => commands.push(Step::Run(invocation)),
        }
    }
    let mut steps = Vec::new();
    if !packages.is_empty() {
        steps.extend([Step::UpdatePackageLists, Step::InstallPackages(packages)]);
    }
    steps.append(&mut commands);
    steps
}

/// The services that would be started with what is missing.
pub(crate) fn services(missing: &[&Need]) -> Vec<&'static str> {
    missing.iter().filter_map(|need| need.service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{
        BUILDING, EVERYTHING, ON_THIS_KERNEL,
        needs::{BPF_LINKER, NEEDS, TOOLCHAIN},
    };

    /// A machine that has what is listed, and nothing else.
    #[derive(Default)]
    struct Fake {
        programs: Vec<&'static str>,
        files: Vec<&'static str>,
        toolchains: Vec<&'static str>,
        bpf_linker: Option<&'static str>,
        python_environments: bool,
    }

    impl Machine for Fake {
        fn has_program(&self, name: &str) -> bool {
            self.programs.contains(&name)
        }
        fn has_file(&self, path: &str) -> bool {
            self.files.contains(&path)
        }
        fn has_c_library(&self, file: &str) -> bool {
            self.files.contains(&file)
        }
        fn has_component_program(&self, name: &str) -> bool {
            self.programs.contains(&name)
        }
        fn can_build_core(&self, toolchain: &str) -> bool {
            self.toolchains.contains(&toolchain)
        }
        fn can_make_python_environments(&self) -> bool {
            self.python_environments
        }
        fn version_of(&self, _program: &str) -> Option<String> {
            self.bpf_linker.map(str::to_owned)
        }
    }

    fn complete() -> Fake {
        Fake {
            programs: vec![
                "cc",
                "gcc",
                "rustfmt",
                "cargo-clippy",
                "ip",
                "nft",
                "bpftool",
                "ethtool",
                "curl",
                "nsenter",
                "ps",
                "qemu-system-x86_64",
                "depmod",
                "modprobe",
                "udevadm",
                "busybox",
                "ipvsadm",
                "iptables",
                "systemd",
                "containerd",
                "ctr",
                "runc",
                "kubectl",
            ],
            files: vec!["libc.a"],
            toolchains: vec!["debweb"],
            bpf_linker: Some("bpf-linker 0.13.0"),
            python_environments: true,
        }
    }

    fn names_missing_on(machine: &Fake) -> Vec<&'static str> {
        missing(NEEDS, EVERYTHING, machine).iter().map(|need| need.what).collect()
    }

    #[test]
    fn a_complete_machine_needs_nothing_done() {
        let machine = complete();
        assert!(names_missing_on(&machine).is_empty());
        assert!(steps(&missing(NEEDS, EVERYTHING, &machine)).is_empty());
    }

    #[test]
    fn an_empty_machine_gets_every_package_at_once_and_then_the_commands() {
        let steps = steps(&missing(NEEDS, EVERYTHING, &Fake::default()));
        assert_eq!(steps[0], Step::UpdatePackageLists);
        let Step::InstallPackages(packages) = &steps[1] else { panic!("{steps:?}") };
        for name in ["gcc", "libc6-dev", "rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev", "nftables"]
        {
            assert!(packages.contains(&name), "{name} is not among {packages:?}");
        }
        let programs: Vec<&str> = steps[2..]
            .iter()
            .map(|step| match step {
                Step::Run(invocation) => invocation.arguments[0],
                Step::UpdatePackageLists | Step::InstallPackages(_) => panic!("{step:?} after the packages"),
            })
            .collect();
        assert_eq!(programs, ["toolchain", "install", "component", "component"]);
    }

    #[test]
    fn nightly_with_the_library_source_makes_debians_compiler_unnecessary() {
        assert!(names_missing_on(&Fake { toolchains: vec!["nightly"], ..complete() }).is_empty());
    }

    #[test]
    fn a_toolchain_that_is_only_not_linked_yet_costs_no_package() {
        let debian =
            vec!["libc.a", "/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/core"];
        let machine = Fake { toolchains: vec![], files: debian, ..complete() };
        assert_eq!(names_missing_on(&machine), [TOOLCHAIN]);
        assert!(matches!(steps(&missing(NEEDS, EVERYTHING, &machine))[..], [Step::Run(_)]));
    }

    #[test]
    fn bpf_linker_is_rebuilt_when_it_is_older_than_the_compilers() {
        for (version, is_good) in [
            (Some("bpf-linker 0.13.0"), true),
            (Some("bpf-linker 0.14.2"), true),
            (Some("bpf-linker 1.0.0"), true),
            (Some("bpf-linker 0.9.15"), false),
            (Some("nonsense"), false),
            (None, false),
        ] {
            let names = names_missing_on(&Fake { bpf_linker: version, ..complete() });
            assert_eq!(!names.contains(&BPF_LINKER), is_good, "{version:?}: {names:?}");
            assert_eq!(!names.contains(&"llvm-22-dev"), is_good, "{version:?}: {names:?}");
        }
    }

    #[test]
    fn virtual_machines_cost_nothing_where_there_are_none() {
        let machine = Fake { programs: vec!["cc", "gcc"], python_environments: false, ..complete() };
        let names =
            |purposes| missing(NEEDS, purposes, &machine).iter().map(|need| need.what).collect::<Vec<_>>();
        assert!(names(EVERYTHING).contains(&"qemu-system-x86"));
        assert!(names(BUILDING).contains(&"curl"));
        for name in ["qemu-system-x86", "python3-venv", "ipvsadm"] {
            assert!(!names(BUILDING).contains(&name), "{name}");
            assert!(names(&[Purpose::VirtualMachines]).contains(&name), "{name}");
        }
    }

    #[test]
    fn containers_cost_nothing_where_nothing_is_tested() {
        let machine = Fake { programs: vec!["cc", "gcc"], ..complete() };
        let names =
            |purposes| missing(NEEDS, purposes, &machine).iter().map(|need| need.what).collect::<Vec<_>>();
        assert!(names(ON_THIS_KERNEL).contains(&"runc"));
        assert!(!names(BUILDING).contains(&"runc"));
    }

    #[test]
    fn a_service_is_kept_from_starting_only_when_its_package_is_installed() {
        let services = |machine: &Fake| services(&missing(NEEDS, ON_THIS_KERNEL, machine));
        assert_eq!(services(&Fake::default()), ["containerd.service"]);
        assert!(services(&complete()).is_empty(), "whoever has it may run it");
    }

    #[test]
    fn a_need_that_serves_another_names_one_in_the_table() {
        for need in NEEDS {
            if let Some(other) = need.only_for {
                assert!(NEEDS.iter().any(|need| need.what == other), "{} serves {other}", need.what);
            }
        }
    }
}
