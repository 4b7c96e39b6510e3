use std::{num::NonZeroU32, time::Duration};

use super::*;
use crate::{
    config::{BackendConfig, HostsConfig, Interfaces, KubernetesDiscovery, PacketConfig, ServiceConfig},
    model::{DataplaneKind, Dataplanes, OnAllDown, OnDown, Policy, Prefer, Scope},
    probe::{Ca, CheckKind, HealthCheck, HttpCheck, ServerName, TlsCheck},
};

/// The example of the documentation, with every field.
const EXAMPLE: &str = r#"dataplane: auto                  # auto | socket | ipvs | packet | [socket, packet]
rescue: on                       # on: where the kernel can do it; off
packet:
  interfaces: auto               # auto: every interface; or a list of names and patterns with * and ?
  xdp: off                       # off; or a list of wires between which XDP takes packets of open connections
  connections: 16384             # 1024 to 1048576
  masquerade: true
  shortcut: on                   # on: where nobody would miss packets that pass by the node's stack; off
scope: host                      # host: sockets of the agent's network namespace; node: pods' too
cgroup: auto                     # auto: the root of the cgroup-v2 hierarchy; or a path
bpffs: /sys/fs/bpf/lbctl         # where programs, links and maps are pinned
stateDir: /var/lib/lbctl         # operator intent and last known backends
hosts:
  path: /etc/hosts
  manage: true
admin:
  socket: /run/lbctl/lbctl.sock  # HTTP/JSON, mode 0600
metrics:
  listen: 127.0.0.1:9464         # Prometheus and the status page; "off" to disable
services:
  - name: apiserver
    vip: 10.103.97.2:6443        # or "[fd00::2]:6443"; port may differ from the backends'
    hostname: apiserver.cluster.local   # omit for no hosts entry
    policy: random               # random | round-robin | least-conn | sticky
    prefer: none                 # none | local: this node's own backend first, while it is up
    backends:
      - 192.168.0.2:6443
      - {address: "192.168.0.3:6443", weight: 2}
DISCOVERY    health:
      type: https                # https | http | tcp
      path: /readyz
      expect: [200, 401, 403]    # 401/403: alive, but anonymous requests are refused
      ca: auto                   # auto: /etc/kubernetes/pki/ca.crt if it exists; a path; or insecure
      serverName: auto           # auto: the hostname, else the backend's address
      interval: 2s
      timeout: 1s
      fall: 3
      rise: 2
      heartbeat: 500ms           # on the persistent connection; off | duration
    deadAfter: 4s
    onDown: reset                # reset: end established connections to a dead backend; keep
    onAllDown: auto              # auto | all | refuse
"#;

const DISCOVERY: &str =
    "    discovery:                   # optional: follow the cluster's own list of apiservers
      kubernetes: {kubeconfig: /etc/kubernetes/kubelet.conf}
";

fn example_config() -> Config {
    Config {
        dataplane: None,
        rescue: true,
        packet: PacketConfig {
            interfaces: Interfaces::All,
            xdp: Vec::new(),
            connections: 16_384,
            masquerade: true,
            shortcut: true,
        },
        scope: Scope::Host,
        cgroup: None,
        bpffs: "/sys/fs/bpf/lbctl".into(),
        state_dir: "/var/lib/lbctl".into(),
        hosts: HostsConfig { path: "/etc/hosts".into(), manage: true },
        admin_socket: "/run/lbctl/lbctl.sock".into(),
        metrics: Some("127.0.0.1:9464".parse().unwrap()),
        services: vec![ServiceConfig {
            name: "apiserver".parse().unwrap(),
            vip: "10.103.97.2:6443".parse().unwrap(),
            hostname: Some("apiserver.cluster.local".parse().unwrap()),
            policy: Policy::Random,
            prefer: Prefer::None,
            backends: vec![
                BackendConfig { address: "192.168.0.2:6443".parse().unwrap(), weight: 1 },
                BackendConfig { address: "192.168.0.3:6443".parse().unwrap(), weight: 2 },
            ],
            health: HealthCheck {
                kind: CheckKind::Https(
                    HttpCheck::get("/readyz", [200, 401, 403]),
                    TlsCheck { ca: Ca::Auto, server_name: ServerName::Auto },
                ),
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                fall: NonZeroU32::new(3).unwrap(),
                rise: NonZeroU32::new(2).unwrap(),
                heartbeat: Some(Duration::from_millis(500)),
                dead_after: Duration::from_secs(4),
            },
            discovery: None,
            slow_start: None,
            rebalance: None,
            on_down: OnDown::Reset,
            on_all_down: OnAllDown::Auto,
        }],
    }
}

#[test]
fn the_example_says_what_its_comments_say() {
    assert_eq!(load_text(&EXAMPLE.replace("DISCOVERY", "")).unwrap(), example_config());
}

#[test]
fn what_is_not_written_is_as_in_the_example() {
    let least = "services:
- name: apiserver
  vip: 10.103.97.2:6443
  hostname: apiserver.cluster.local
  backends: [192.168.0.2:6443, {address: 192.168.0.3:6443, weight: 2}]
";
    assert_eq!(load_text(least).unwrap(), example_config());
    let nulls = format!(
        "dataplane:\nrescue: ~\npacket: {{interfaces: }}\nhosts: ~\nmetrics: {{}}\n{least}  health:\n  policy: null\n"
    );
    assert_eq!(load_text(&nulls).unwrap(), example_config());
}

#[test]
fn discovery_takes_the_kubelets_kubeconfig_and_looks_every_30_seconds_unless_told_otherwise() {
    let mut wanted = example_config();
    let kubelets = "/etc/kubernetes/kubelet.conf".into();
    wanted.services[0].discovery =
        Some(KubernetesDiscovery { kubeconfig: kubelets, interval: Duration::from_secs(30) });
    assert_eq!(load_text(&EXAMPLE.replace("DISCOVERY", DISCOVERY)).unwrap(), wanted);
    assert_eq!(
        load_text(&format!("{LEAST}  discovery: {{kubernetes: {{}}}}\n")).unwrap().services[0].discovery,
        wanted.services[0].discovery
    );
    assert!(
        complaints(&format!("{LEAST}  discovery: {{kubernetes: {{kubeconfig: a, interval: 0s}}}}\n"))
            .contains("absolute")
    );
}

#[test]
fn every_alternative_is_understood() {
    let text = r#"
dataplane: ipvs
scope: node
cgroup: /sys/fs/cgroup/unified
bpffs: /run/bpf.d/lbctl
hosts: {path: /tmp/hosts, manage: false}
metrics: {listen: off}
services:
- {name: a, vip: "[fd00::2]:6443", hostname: a.b, policy: sticky, prefer: local, backends: ["[fd00::3]:1"],
   health: {ca: insecure, serverName: Kube-Master.example, heartbeat: off}, onDown: keep, onAllDown: refuse}
- {name: b, vip: 10.0.0.1:1, hostname: a.b, policy: least-conn, backends: [{address: 10.0.0.2:1, weight: 0}],
   health: {type: http, path: /x?verbose, expect: [204]}, onAllDown: all}
- {name: c, vip: 10.0.0.1:2, policy: round-robin, backends: [10.0.0.2:1], health: {type: tcp}}
- {name: d, vip: 10.0.0.1:3, backends: [10.0.0.2:1], health: {ca: /ca.crt, serverName: 10.0.0.9}}
"#;
    let config = load_text(text).unwrap();
    assert_eq!(config.dataplane, Some(Dataplanes::One(DataplaneKind::Ipvs)));
    assert_eq!(config.scope, Scope::Node);
    assert_eq!(config.cgroup, Some("/sys/fs/cgroup/unified".into()));
    assert_eq!(config.hosts, HostsConfig { path: "/tmp/hosts".into(), manage: false });
    assert_eq!(config.metrics, None);
    let [a, b, c, d] = config.services.as_slice() else { panic!("four services") };
    assert_eq!((a.policy, a.prefer), (Policy::Sticky, Prefer::Local));
    assert_eq!((a.on_down, a.on_all_down, a.health.heartbeat), (OnDown::Keep, OnAllDown::Refuse, None));
    let CheckKind::Https(_, tls) = &a.health.kind else { panic!("https is the default") };
    let name = ServerName::Name("Kube-Master.example".to_owned());
    assert_eq!(*tls, TlsCheck { ca: Ca::Insecure, server_name: name });
    assert_eq!((b.policy, b.on_all_down, b.backends[0].weight), (Policy::LeastConn, OnAllDown::All, 0));
    let http = HttpCheck::get("/x?verbose", [204]);
    assert_eq!(b.health.kind, CheckKind::Http(http));
    assert_eq!((c.policy, &c.health.kind), (Policy::RoundRobin, &CheckKind::Tcp));
    let CheckKind::Https(_, tls) = &d.health.kind else { panic!("https is the default") };
    let name = ServerName::Name("10.0.0.9".to_owned());
    assert_eq!(*tls, TlsCheck { ca: Ca::File("/ca.crt".into()), server_name: name });
}

#[test]
fn one_dataplane_or_the_pair_is_understood_in_any_order() {
    for (written, wanted) in [
        ("auto", None),
        ("socket", Some(DataplaneKind::Socket.into())),
        ("packet", Some(DataplaneKind::Packet.into())),
        ("[socket]", Some(DataplaneKind::Socket.into())),
        ("[ipvs]", Some(DataplaneKind::Ipvs.into())),
        ("[packet]", Some(DataplaneKind::Packet.into())),
        ("[socket, packet]", Some(Dataplanes::SocketAndPacket)),
        ("[packet, socket]", Some(Dataplanes::SocketAndPacket)),
        ("\n- packet\n- socket", Some(Dataplanes::SocketAndPacket)),
    ] {
        let config = load_text(&format!("dataplane: {written}\n{LEAST}")).unwrap();
        assert_eq!(config.dataplane, wanted, "{written}");
        assert_eq!(config.names(DataplaneKind::Packet), written.contains("packet"), "{written}");
    }
}

#[test]
fn the_packet_dataplane_and_the_rescue_have_settings() {
    let text = format!(
        "rescue: off\npacket: {{interfaces: [eth0, 'veth*', vm-?], xdp: [eth*, ens1], connections: 1048576, masquerade: false, shortcut: off}}\n{LEAST}"
    );
    let config = load_text(&text).unwrap();
    assert!(!config.rescue);
    let packet = config.packet;
    assert_eq!((packet.connections, packet.masquerade, packet.shortcut), (1_048_576, false, false));
    assert_eq!(packet.xdp, ["eth*", "ens1"].map(|pattern| pattern.parse().unwrap()));
    assert!(load_text(&format!("packet: {{xdp: off}}\n{LEAST}")).unwrap().packet.xdp.is_empty());
    for (name, wanted) in
        [("eth0", true), ("eth1", false), ("veth1a2b", true), ("vm-1", true), ("vm-", false)]
    {
        assert_eq!(packet.interfaces.has(name), wanted, "{name}");
        assert!(Interfaces::All.has(name), "{name}");
    }
}

#[test]
fn a_quicker_probe_means_a_quicker_verdict_unless_one_is_written() {
    for (written, slow_start) in
        [("", None), ("  slowStart: off", None), ("  slowStart: 1m", Some(Duration::from_secs(60)))]
    {
        assert_eq!(load_text(&format!("{LEAST}\n{written}\n")).unwrap().services[0].slow_start, slow_start);
    }
    for (written, rebalance) in [
        ("  rebalance: {}", None),
        ("  rebalance: {perMinute: 0}", None),
        ("  rebalance: {perMinute: 6}", NonZeroU32::new(6)),
    ] {
        assert_eq!(load_text(&format!("{LEAST}\n{written}\n")).unwrap().services[0].rebalance, rebalance);
    }
    for (health, dead_after, millis) in [
        ("interval: 2s, timeout: 1s, fall: 3", "", 4_000),
        ("interval: 500ms, timeout: 200ms, fall: 2", "", 1_000),
        ("interval: 500ms, timeout: 200ms, fall: 2", "  deadAfter: 10s", 10_000),
        ("interval: 10s, timeout: 6s", "", 6_000),
    ] {
        let config = load_text(&format!("{LEAST}  health: {{{health}}}\n{dead_after}\n")).unwrap();
        assert_eq!(config.services[0].health.dead_after, Duration::from_millis(millis), "{health}");
    }
}

#[test]
fn sixty_four_of_everything_fit() {
    let backends: Vec<_> = (1..=64).map(|i| format!("{{address: '10.1.0.{i}:1', weight: 65535}}")).collect();
    let service = |i| format!("- {{name: s{i}, vip: '10.0.0.1:{i}', backends: [{}]}}\n", backends.join(", "));
    let text = format!("services:\n{}", (1..=64).map(service).collect::<String>());
    assert_eq!(load_text(&text).unwrap().services.len(), 64);
}
