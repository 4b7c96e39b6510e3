//! What building and testing lbctl needs, as data.

use super::machine::Machine;

/// One thing the project cannot do without.
pub(crate) struct Need {
    /// Its name.
    pub(crate) what: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
    /// Whether the machine has it.
    pub(crate) present: fn(&dyn Machine) -> bool,
    /// Who cannot do without it.
    pub(crate) purpose: Purpose,
    /// How to get it.
    pub(crate) remedy: Remedy,
    /// The need that this one merely serves: while that is present, this is not wanted.
    pub(crate) only_for: Option<&'static str>,
    /// The service that Debian's package would start.
    pub(crate) service: Option<&'static str>,
}

/// What something is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building, and testing on the running kernel.
    Building,
    /// Virtual machines with other kernels.
    VirtualMachines,
    /// Testing with what clusters are made of: container runtimes, kubectl.
    Containers,
    /// Measuring beside other load balancers.
    Benchmarks,
}

/// How a need is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A Debian package.
    Package(&'static str),
    /// A program to run, as the user who builds.
    Run(Invocation),
}

/// A program, its arguments and what its environment must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// Name of the program.
    pub(crate) program: &'static str,
    /// Its arguments.
    pub(crate) arguments: &'static [&'static str],
    /// Environment variables set in addition.
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

/// The toolchains that lb-user's build script tries, in its order: rustup's nightly with the component rust-src,
/// or Debian's packages linked under this name.
const TOOLCHAINS: [&str; 2] = ["nightly", "debweb"];

/// The oldest bpf-linker that reads the bitcode of the compilers in use (LLVM 22).
const BPF_LINKER_AT_LEAST: (u32, u32) = (0, 13);

pub(super) const TOOLCHAIN: &str = "toolchain that can build core";
pub(super) const BPF_LINKER: &str = "bpf-linker";

/// Everything needed on top of rustup's stable Rust. A command comes after the commands that it needs.
pub(crate) const NEEDS: &[Need] = &[
    package("gcc", "links Rust programs and compiles ring", |m| m.has_program("cc") && m.has_program("gcc")),
    package("libc6-dev", "the C library, for the static binary", |m| m.has_c_library("libc.a")),
    package("rustc-web", "compiles the kernel programs", |m| m.has_file("/usr/bin/rustc"))
        .only_for(TOOLCHAIN),
    package("cargo-web", "compiles the kernel programs", |m| m.has_file("/usr/bin/cargo"))
        .only_for(TOOLCHAIN),
    package("rust-web-src", "the source of core, which the kernel programs are built with", |m| {
        m.has_file("/usr/lib/rustlib/src/rust/library/core")
    })
    .only_for(TOOLCHAIN),
    command(
        TOOLCHAIN,
        "compiles the kernel programs; this is Debian's, made known to rustup",
        |m| TOOLCHAINS.iter().any(|name| m.can_build_core(name)),
        Invocation {
            program: "rustup",
            arguments: &["toolchain", "link", "debweb", "/usr"],
            environment: &[],
        },
    ),
    package("llvm-22-dev", "bpf-linker is built on it", |m| m.has_file("/usr/lib/llvm-22/bin/llvm-config"))
        .only_for(BPF_LINKER),
    package("libpolly-22-dev", "LLVM links to it", |m| m.has_file("/usr/lib/llvm-22/lib/libPolly.a"))
        .only_for(BPF_LINKER),
    package("zlib1g-dev", "LLVM links to it", |m| m.has_file("/usr/include/zlib.h")).only_for(BPF_LINKER),
    package("libzstd-dev", "LLVM links to it", |m| m.has_file("/usr/include/zstd.h")).only_for(BPF_LINKER),
    package("libxml2-dev", "LLVM links to it", |m| m.has_file("/usr/include/libxml2/libxml/parser.h"))
        .only_for(BPF_LINKER),
    command(BPF_LINKER, "links the kernel programs", has_bpf_linker, BUILD_BPF_LINKER),
    command(
        "rustfmt",
        "checks the layout of the source",
        |m| m.has_component_program("rustfmt"),
        Invocation { program: "rustup", arguments: &["component", "add", "rustfmt"], environment: &[] },
    ),
    command(
        "clippy",
        "checks the source",
        |m| m.has_component_program("cargo-clippy"),
        Invocation { program: "rustup", arguments: &["component", "add", "clippy"], environment: &[] },
    ),
    package("iproute2", "makes the network namespaces of the end-to-end tests", |m| m.has_program("ip")),
    package("ethtool", "makes wires that check checksums in the end-to-end tests", |m| {
        m.has_program("ethtool")
    }),
    package("nftables", "drops packets in the end-to-end tests", |m| m.has_program("nft")),
    package("bpftool", "shows what the end-to-end tests left in the kernel", |m| m.has_program("bpftool")),
    package("curl", "a client in the end-to-end tests", |m| m.has_program("curl")),
    package("util-linux", "nsenter, for the end-to-end tests", |m| m.has_program("nsenter")),
    package("procps", "ps, for the end-to-end tests", |m| m.has_program("ps")),
    package("qemu-system-x86", "emulates a machine", |m| m.has_program("qemu-system-x86_64")).for_machines(),
    package("kmod", "loads modules in virtual machines", |m| {
        m.has_program("depmod") && m.has_program("modprobe")
    })
    .for_machines(),
    package("udev", "finds the devices of virtual machines", |m| m.has_program("udevadm")).for_machines(),
    package("busybox-static", "boots virtual machines", |m| m.has_program("busybox")).for_machines(),
    package("python3-venv", "holds virtme-ng, which starts virtual machines", |m| {
        m.can_make_python_environments()
    })
    .for_machines(),
    package("ipvsadm", "shows IPVS in the tests in virtual machines", |m| m.has_program("ipvsadm"))
        .for_machines(),
    package("systemd", "runs the unit in the tests in virtual machines", |m| m.has_program("systemd"))
        .for_machines(),
    package("iptables", "other people's rules in the tests in virtual machines", |m| {
        m.has_program("iptables")
    })
    .for_machines(),
    package("containerd", "runs the container image", |m| {
        m.has_program("containerd") && m.has_program("ctr")
    })
    .for_containers()
    .starts("containerd.service"),
    package("runc", "starts containers for containerd", |m| m.has_program("runc")).for_containers(),
    package("kubernetes-client", "kubectl, a client in the end-to-end tests", |m| m.has_program("kubectl"))
        .for_containers(),
    package("haproxy", "is measured beside lbctl", |m| m.has_program("haproxy"))
        .for_benchmarks()
        .starts("haproxy.service"),
    package("nginx-core", "is measured beside lbctl", |m| m.has_program("nginx"))
        .for_benchmarks()
        .starts("nginx.service"),
    package("libnginx-mod-stream", "lets nginx forward TCP", |m| {
        m.has_file("/usr/lib/nginx/modules/ngx_stream_module.so")
    })
    .for_benchmarks(),
];

const BUILD_BPF_LINKER: Invocation = Invocation {
    program: "cargo",
    arguments: &[
        "install",
        "bpf-linker",
        "--version",
        "^0.13",
        "--locked",
        "--no-default-features",
        "--features",
        "llvm-22",
    ],
    environment: &[
        ("LLVM_PREFIX", "/usr/lib/llvm-22"),
        ("LLVM_SYS_221_PREFIX", "/usr/lib/llvm-22"),
        ("RUSTFLAGS", "-L/usr/lib/llvm-22/lib -L/usr/lib/x86_64-linux-gnu -L/usr/lib/aarch64-linux-gnu"),
    ],
};

const fn package(what: &'static str, why: &'static str, present: fn(&dyn Machine) -> bool) -> Need {
    needed(what, why, present, Remedy::Package(what))
}

const fn command(
    what: &'static str,
    why: &'static str,
    present: fn(&dyn Machine) -> bool,
    invocation: Invocation,
) -> Need {
    needed(what, why, present, Remedy::Run(invocation))
}

const fn needed(
    what: &'static str,
    why: &'static str,
    present: fn(&dyn Machine) -> bool,
    remedy: Remedy,
) -> Need {
    Need { what, why, present, purpose: Purpose::Building, remedy, only_for: None, service: None }
}

impl Need {
    const fn only_for(mut self, other: &'static str) -> Self {
        self.only_for = Some(other);
        self
    }

    const fn for_machines(mut self) -> Self {
        self.purpose = Purpose::VirtualMachines;
        self
    }

    const fn for_containers(mut self) -> Self {
        self.purpose = Purpose::Containers;
        self
    }

    const fn starts(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }

    const fn for_benchmarks(mut self) -> Self {
        self.purpose = Purpose::Benchmarks;
        self
    }
}

fn has_bpf_linker(machine: &dyn Machine) -> bool {
    machine
        .version_of("bpf-linker")
        .and_then(|line| major_and_minor(&line))
        .is_some_and(|version| version >= BPF_LINKER_AT_LEAST)
}

/// `bpf-linker 0.13.0` -> (0, 13)
fn major_and_minor(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
