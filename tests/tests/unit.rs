//! The unit as it is checked in, below a systemd of its own. In a virtual machine only: it takes the cgroups for its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use lb_tests::binaries;
use lb_tests::pki::{Pki, Signer};
use lb_tests::process::run_to_end;
use lb_tests::slowness::stretched;

const NETWORK: &str = "[Unit]
Before=network-online.target m2.service m3.service m4.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip link set lo up; for n in 2 3 4; do ip address add 192.168.0.$n/32 dev lo; done'
";

/// The master at 192.168.0.N.
const MASTER: &str = "[Unit]
Before=lbctl.service
[Service]
ExecStart=DIR/standin --name mN --listen 192.168.0.N:6443 --cert DIR/m.crt --key DIR/m.key --control /run/mN
ExecStartPost=/bin/sh -c 'until [ -S /run/mN ]; do sleep 0.1; done'
";

/// A kubelet, so to speak: what tries the node.
const KUBELET: &str = "[Unit]
After=network-online.target
[Service]
StandardOutput=file:DIR/report
StandardError=inherit
ExecStart=/bin/sh DIR/try
";

/// Runs as PID 1 until systemd takes its place. /etc is on a file system of its own, where a file can be replaced.
const BOOT: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs /mnt && cp -a /etc/. /mnt/ && mount --move /mnt /etc
mount -t tmpfs -o mode=755 tmpfs /run
while mountpoint -q /sys; do umount --recursive /sys; done && mount -t sysfs sysfs /sys
rm -rf /etc/systemd/system /etc/fstab /.dockerenv && mkdir -p /etc/systemd/system /etc/lbctl /etc/kubernetes/pki
cp DIR/*.service DIR/*.target /etc/systemd/system/
cp DIR/config.yaml /etc/lbctl/ && cp DIR/ca.crt /etc/kubernetes/pki/ && echo 127.0.0.1 localhost > /etc/hosts && stat --format %i /etc/hosts > DIR/inode
for unit in systemd-udevd systemd-udev-trigger systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-sysusers \\
    systemd-random-seed systemd-modules-load systemd-remount-fs systemd-update-utmp ipvsadm
do ln -s /dev/null /etc/systemd/system/$unit.service; done
exec /lib/systemd/systemd --unit=trial.target --show-status=0";

const TARGET: &str =
    "[Unit]\nWants=net.service m2.service m3.service m4.service lbctl.service kubelet.service\n";

const TRY: &str = r#"
state() { systemctl show lbctl --property=ActiveState --property=NRestarts --value | tr '\n' ' '; }
ask() {
    curl --silent --show-error --max-time 20 --cacert DIR/ca.crt --output /dev/null --write-out '%{http_code} ' \
        https://apiserver.cluster.local:6443/whoami
}
echo "at its start: $(ask)$(state)"
kill -KILL $(systemctl show lbctl --property=MainPID --value)
echo "without it: $(ask)"
for i in $(seq 100); do [ "$(state)" = "1 active " ] && break; sleep 0.2; done
echo "after a kill: $(ask)$(state)"
systemctl reload lbctl; echo "reload: $?"
echo 'nonsense: 1' >> /etc/lbctl/config.yaml
systemctl reload lbctl; echo "reload of nonsense: $?"
systemctl stop lbctl
echo "stopped: $(ask)"
cp DIR/config.yaml /etc/lbctl/ && /usr/local/bin/lbctl cleanup && umount /sys/fs/bpf && systemctl start lbctl
echo "without a bpffs: $(ask)$(systemctl show lbctl --property=ActiveState --value)"
systemctl stop lbctl && /usr/local/bin/lbctl cleanup
echo "the hosts file: $([ $(cat DIR/inode) = $(stat --format %i /etc/hosts) ] && echo rewritten || echo replaced)"
journalctl --sync; journalctl --unit=lbctl --output=cat --no-pager
sync; systemctl poweroff --force --force
"#;

#[test]
fn a_node_is_ready_before_its_kubelet_and_stays_so_whatever_becomes_of_the_agent() {
    let kernel = fs::read_to_string("/proc/cmdline").unwrap();
    assert!(kernel.contains("virtme"), "this is no virtual machine; hint: cargo xtask test");
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let put = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    };
    let sans = ["apiserver.cluster.local", "10.103.97.2"].map(str::to_owned);
    Pki::new(dir.path()).unwrap().issue(Signer::Lab, "m", &sans).unwrap();
    fs::copy(binaries::standin().unwrap(), dir.path().join("standin")).unwrap();
    fs::copy(binaries::lbctl().unwrap(), "/usr/local/bin/lbctl").unwrap();
    put("config.yaml", include_str!("../../manifests/config.yaml"));
    put("lbctl.service", include_str!("../../manifests/lbctl.service"));
    put("net.service", NETWORK);
    for n in ["2", "3", "4"] {
        put(&format!("m{n}.service"), &MASTER.replace('N', n));
    }
    put("kubelet.service", KUBELET);
    put("trial.target", TARGET);
    put("boot", BOOT);
    put("try", TRY);

    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--uts", "--ipc"]);
    command.args(["sh"]).arg(dir.path().join("boot"));
    let ended = run_to_end("systemd", dir.path(), &mut command, stretched(Duration::from_secs(30)));
    let report = fs::read_to_string(dir.path().join("report")).unwrap_or_default();
    println!("{report}");
    ended.unwrap();

    let of = |what: &str| report.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    assert_eq!(of("at its start:"), Some("200 0 active"));
    assert_eq!(of("without it:"), Some("200"));
    assert_eq!(of("after a kill:"), Some("200 1 active"));
    assert_eq!((of("reload:"), of("reload of nonsense:")), (Some("0"), Some("1")));
    assert_eq!(of("stopped:"), Some("200"));
    assert_eq!(of("without a bpffs:"), Some("200 active"));
    assert_eq!(of("the hosts file:"), Some("replaced"));
    assert!(report.contains("failed to mount a bpffs"), "what the agent may not call is an error to it");
}
