use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use super::{Capability, Invocation, capabilities, invocation::shown};
use crate::{
    config::Config,
    model::{DataplaneKind, Scope},
};

/// The agent as a unit of systemd, ready before the kubelet starts. `binary` is the path of lbctl.
pub fn systemd(config: &Config, invocation: &Invocation, binary: &Path) -> String {
    let line = |command: &str| {
        let words = std::iter::once(shown(binary)).chain(invocation.args(command, &[]));
        let line = words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ");
        // `$` begins a variable there, systemd.service(5).
        line.replace('$', "$$")
    };
    let capabilities = held(config).into_iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>();
    let writable = writable(config).into_iter().map(|path| quoted(&path)).collect::<Vec<_>>();
    format!(
        "\
# /etc/systemd/system/lbctl.service: `systemctl enable --now lbctl`. Written by `lbctl manifest systemd`.
[Unit]
Description=lbctl, the apiservers at one address
Wants=network-online.target
After=network-online.target sys-fs-bpf.mount
# It tells systemd that it is ready when the node is programmed, whether a master is up or not.
Before=kubelet.service
StartLimitIntervalSec=0

[Service]
Type=notify
{modules}ExecStart={run}
# The agent does not take a config with a mistake; so that `systemctl reload` fails and says why.
ExecReload={check}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStartSec=60
OOMScoreAdjust=-900

# Nothing is taken out of the kernel when it stops: `lbctl cleanup` does that.
{folders}
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
{guarded}RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces={namespaces}
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service bpf
# Not a kill: where no bpffs is mounted the agent is refused mount(2), says so, and may take the other dataplane.
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
",
        modules = modules(config),
        run = line("run"),
        check = line("check"),
        folders = folders(config),
        capabilities = capabilities.join(" "),
        writable = writable.join(" "),
        guarded = guarded(config),
        namespaces = if config.scope == Scope::Node { "net" } else { "yes" },
    )
}

/// Beside what a pod has: the network namespaces of pods that have no name in /run/netns are found through processes, whose
/// links in /proc are for who may trace them, ptrace(2).
fn held(config: &Config) -> Vec<Capability> {
    let mut needed = capabilities(config);
    if config.scope == Scope::Node {
        needed.push("SYS_PTRACE");
    }
    needed
}

/// The kernel loads a module for who may not, but not on every kernel.
fn modules(config: &Config) -> &'static str {
    if config.names(DataplaneKind::Ipvs) { "ExecStartPre=+-/sbin/modprobe -a ip_vs ip_vs_wrr\n" } else { "" }
}

/// systemd makes these, where they are the usual ones.
fn folders(config: &Config) -> String {
    let mut text = String::new();
    if config.state_dir == Path::new("/var/lib/lbctl") {
        text.push_str("StateDirectory=lbctl\nStateDirectoryMode=0700\n");
    }
    if config.admin_socket.parent() == Some(Path::new("/run/lbctl")) {
        text.push_str("RuntimeDirectory=lbctl\nRuntimeDirectoryPreserve=yes\n");
    }
    text
}

/// Beside what systemd makes, and /sys and /proc, which it leaves alone.
fn writable(config: &Config) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    // The folder, since the file is replaced.
    let folder = |path: &Path| path.parent().map_or_else(|| shown(path), shown);
    if config.hosts.manage {
        paths.insert(folder(&config.hosts.path));
    }
    if config.state_dir != Path::new("/var/lib/lbctl") {
        paths.insert(format!("-{}", shown(&config.state_dir)));
    }
    if config.admin_socket.parent() != Some(Path::new("/run/lbctl")) {
        paths.insert(format!("-{}", folder(&config.admin_socket)));
    }
    paths
}

/// What only some dataplanes touch.
fn guarded(config: &Config) -> String {
    let mut text = String::new();
    // A hook on a part of the tree is proven by a process that moves there.
    if config.cgroup.is_none() {
        text.push_str("ProtectControlGroups=yes\n");
    }
    if !config.names(DataplaneKind::Ipvs) {
        text.push_str("ProtectKernelModules=yes\n");
    }
    text
}

/// A word as systemd reads it, systemd.syntax(7): `%` begins a specifier.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@+[]".contains(c);
    let mut escaped = String::with_capacity(word.len() + 2);
    for c in word.chars() {
        match c {
            '%' => escaped.push_str("%%"),
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => _ = write!(escaped, "\\x{:02x}", u32::from(c)),
            c => escaped.push(c),
        }
    }
    if word.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") }
}
