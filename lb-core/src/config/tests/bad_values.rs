use super::*;

#[test]
fn names_and_addresses_are_taken_once() {
    let second =
        |fields: &str| format!("{LEAST}- {{name: b, vip: 10.0.0.9:1, backends: [10.0.0.2:1], {fields}}}\n");
    assert_rows(&[
        (
            format!("{LEAST}- name: apiserver\n  vip: 10.0.0.1:1\n  backends: [10.0.0.2:1]\n"),
            "5:9: services[1].name: apiserver is already taken by services[0].name",
        ),
        (
            format!("{LEAST}- name: b\n  vip: 10.103.97.2:6443\n  backends: [10.0.0.2:1]\n"),
            "6:8: services[1].vip: 10.103.97.2:6443 is already taken by services[0].vip",
        ),
        (
            format!("{}  ", second("hostname: a.b"))
                .replace("backends: [192", "hostname: a.b\n  backends: [192"),
            "6:64: services[1].hostname: a.b is already taken by services[0].hostname",
        ),
        (
            LEAST.replace("[192.168.0.2:6443]", "[10.0.0.1:1, {address: 10.0.0.1:1}]"),
            "4:26: services[0].backends[1]: 10.0.0.1:1 is already taken by services[0].backends[0]",
        ),
        (
            LEAST.replace("192.168.0.2", "10.103.97.2"),
            "4:14: services[0].backends[0]: backend 10.103.97.2:6443 is the VIP of services[0]: connections",
        ),
        (
            LEAST.replace("192.168.0.2:6443", "10.0.0.9:1") + &second("prefer: none")[LEAST.len()..],
            "4:14: services[0].backends[0]: backend 10.0.0.9:1 is the VIP of services[1]",
        ),
        (format!("{LEAST}  vip: 10.0.0.1:1\n"), "5:3: services[0].vip: given twice, first at 3:3"),
        (format!("{LEAST}services: []\n"), "5:1: services: given twice, first at 1:1"),
    ]);
}

#[test]
fn a_bad_address_or_name_is_named_at_its_value() {
    assert_changes(&[
        ("10.103.97.2:6443", "10.103.97.2:0", "3:8: services[0].vip: port 0 in \"10.103.97.2:0\""),
        ("192.168.0.2:6443", "192.168.0.2:0", "4:14: services[0].backends[0]: port 0"),
        (
            "192.168.0.2:6443",
            "{weight: 2, address: 192.168.0.2:0}",
            "4:35: services[0].backends[0].address: port 0",
        ),
        (
            "10.103.97.2:6443",
            "10.0.0.1/24:6443",
            "3:8: services[0].vip: \"10.0.0.1/24:6443\" has a prefix length, and a single address is wanted (hint: write 10.0.0.1:6443)",
        ),
        ("10.103.97.2:6443", "10.0.0.1/24", "3:8: services[0].vip: \"10.0.0.1/24\" has a prefix length"),
        ("192.168.0.2:6443", "master1:6443", "4:14: services[0].backends[0]: \"master1:6443\" is a name"),
        (
            "10.103.97.2:6443",
            "0.0.0.0:6443",
            "3:8: services[0].vip: \"0.0.0.0:6443\" is the unspecified address",
        ),
        (
            "10.103.97.2:6443",
            "224.0.0.1:6443",
            "3:8: services[0].vip: \"224.0.0.1:6443\" is a multicast address",
        ),
        (
            "192.168.0.2:6443",
            "\"[fd00::3]:6443\"",
            "4:14: services[0].backends[0]: [fd00::3]:6443 is not of the family of the VIP 10.103.97.2:6443 (hint: make",
        ),
        (
            "192.168.0.2:6443",
            "\"[::ffff:1.2.3.4]:6443\"",
            "4:14: services[0].backends[0]: \"[::ffff:1.2.3.4]:6443\" is an IPv4 address in IPv6 form (hint: write 1.2.3.4:6443)",
        ),
        (
            "",
            "hostname: bad_name",
            "5:13: services[0].hostname: \"bad_name\" is not made of lower-case letters",
        ),
        ("", "hostname: 10.0.0.1", "5:13: services[0].hostname: \"10.0.0.1\" ends in a number"),
        ("", "hostname: localhost", "5:13: services[0].hostname: \"localhost\" is this node itself"),
        ("name: apiserver", "name: API", "2:9: services[0].name: \"API\" is not made of"),
        ("name: apiserver", "name: ''", "2:9: services[0].name: empty name"),
    ]);
}

#[test]
fn dataplanes_that_cannot_work_together_are_named_at_the_second() {
    assert_changes(&[
        (
            "services",
            "dataplane: []\nservices",
            "1:12: dataplane: no dataplane (hint: write auto, one of them",
        ),
        (
            "services",
            "dataplane: [socket, xdp]\nservices",
            "1:21: dataplane[1]: \"xdp\" is none of socket, ipvs, packet",
        ),
        ("services", "dataplane: [auto]\nservices", "1:13: dataplane[0]: \"auto\" is none of socket, ipvs,"),
        ("services", "dataplane: [packet, packet]\nservices", "1:21: dataplane[1]: packet is listed twice"),
        (
            "services",
            "dataplane: [ipvs, packet]\nservices",
            "1:19: dataplane[1]: packet and ipvs cannot work on one node: both would take the same packets (hint: name",
        ),
        (
            "services",
            "dataplane:\n- socket\n- packet\n- ipvs\nservices",
            "4:3: dataplane[2]: ipvs and socket cannot work on one node: both would take the same connections",
        ),
        (
            "services",
            "dataplane: {socket: on}\nservices",
            "1:12: dataplane: invalid type: map, expected a word, or a list",
        ),
        ("services", "dataplane: [1]\nservices", "1:13: dataplane[0]: \"1\" is none of socket, ipvs, packet"),
    ]);
}

#[test]
fn a_bad_setting_of_the_packet_dataplane_is_named_at_its_value() {
    let many: Vec<_> = (0..65).map(|n| format!("e{n}")).collect();
    let many = format!("packet: {{interfaces: [{}]}}\nservices", many.join(", "));
    assert_changes(&[
        ("services", "rescue: true\nservices", "1:9: rescue: \"true\" is none of on, off"),
        ("services", "rescue: maybe\nservices", "1:9: rescue: \"maybe\" is none of on, off"),
        (
            "services",
            "packet: {interface: x}\nservices",
            "1:10: packet.interface: unknown field (hint: did you mean",
        ),
        (
            "services",
            "packet: {interfaces: []}\nservices",
            "1:22: packet.interfaces: no interface (hint: write auto, or list names",
        ),
        (
            "services",
            "packet: {interfaces: eth0}\nservices",
            "1:22: packet.interfaces: \"eth0\" is neither auto nor a list (hint: write [eth0])",
        ),
        (
            "services",
            "packet: {xdp: on}\nservices",
            "1:15: packet.xdp: \"on\" is neither off nor a list (hint: write [on])",
        ),
        (
            "services",
            "packet: {xdp: []}\nservices",
            "1:15: packet.xdp: no interface (hint: write off, or list names",
        ),
        (
            "services",
            "packet: {interfaces: [eth0, eth0]}\nservices",
            "1:29: packet.interfaces[1]: eth0 is listed twice",
        ),
        (
            "services",
            "packet: {interfaces: [a234567890123456]}\nservices",
            "1:23: packet.interfaces[0]: \"a234567890123456\" has 16 bytes, an interface's name has at most 15",
        ),
        (
            "services",
            "packet: {interfaces: [veth*, a/b]}\nservices",
            "1:30: packet.interfaces[1]: \"a/b\" has '/', which no interface's name contains",
        ),
        (
            "services",
            "packet: {interfaces: ['']}\nservices",
            "1:23: packet.interfaces[0]: empty interface name",
        ),
        (
            "services",
            "packet: {interfaces: [..]}\nservices",
            "1:23: packet.interfaces[0]: \"..\" is no interface",
        ),
        ("services", &many, "1:22: packet.interfaces: 65 interface patterns, at most 64 are possible"),
        (
            "services",
            "packet: {connections: 1023}\nservices",
            "1:23: packet.connections: 1023 is not in 1024 to 1048576",
        ),
        (
            "services",
            "packet: {connections: 1048577}\nservices",
            "1:23: packet.connections: 1048577 is not in 1024 to 1048576",
        ),
        (
            "services",
            "packet: {masquerade: auto}\nservices",
            "1:22: packet.masquerade: invalid type: string \"auto\", expected a boolean",
        ),
        (
            "services",
            "packet: {shortcut: auto}\nservices",
            "1:20: packet.shortcut: \"auto\" is none of on, off",
        ),
    ]);
}

#[test]
fn a_bad_choice_or_number_is_named_at_its_value() {
    assert_changes(&[
        (
            "services",
            "dataplane: xdp\nservices",
            "1:12: dataplane: \"xdp\" is none of auto, socket, ipvs, packet",
        ),
        ("services", "scope: pods\nservices", "1:8: scope: \"pods\" is none of host, node"),
        (
            "",
            "policy: rr",
            "5:11: services[0].policy: \"rr\" is none of random, round-robin, least-conn, sticky",
        ),
        ("", "prefer: near", "5:11: services[0].prefer: \"near\" is none of none, local"),
        ("", "onDown: drop", "5:11: services[0].onDown: \"drop\" is none of reset, keep"),
        ("", "onAllDown: any", "5:14: services[0].onAllDown: \"any\" is none of auto, all, refuse"),
        ("", "health: {type: udp}", "5:18: services[0].health.type: \"udp\" is none of https, http, tcp"),
        (
            "[192.168.0.2:6443]",
            "[{address: 192.168.0.2:6443, weight: 65536}]",
            "4:50: services[0].backends[0].weight: 65536 is not in 0 to 65535",
        ),
        (
            "[192.168.0.2:6443]",
            "[{address: 192.168.0.2:6443, weight: -1}]",
            "4:50: services[0].backends[0].weight: -1 is not in 0 to 65535",
        ),
        ("", "health: {fall: 0}", "5:18: services[0].health.fall: 0 is not in 1 to 1000"),
        ("", "health: {rise: 0}", "5:18: services[0].health.rise: 0 is not in 1 to 1000"),
        (
            "",
            "health: {rise: 99999999999999999999}",
            "5:18: services[0].health.rise: 99999999999999999999 is not in 1 to 1000",
        ),
        ("", "health: {expect: []}", "5:20: services[0].health.expect: no status code"),
        ("", "health: {expect: [200, 99]}", "5:26: services[0].health.expect[1]: 99 is not in 100 to 599"),
        ("", "health: {expect: [600]}", "5:21: services[0].health.expect[0]: 600 is not in 100 to 599"),
        ("", "health: {expect: [200, 200]}", "5:26: services[0].health.expect[1]: 200 is listed twice"),
        (
            "",
            "health: {path: readyz}",
            "5:18: services[0].health.path: \"readyz\" is not a request path (hint: it",
        ),
        ("", "health: {path: '/a b'}", "5:18: services[0].health.path: \"/a b\" is not a request path"),
        (
            "",
            "health: {path: \"/a\\r\\nX: y\"}",
            "5:18: services[0].health.path: \"/a\\r\\nX: y\" is not a request",
        ),
        (
            "",
            "health: {serverName: 'a b'}",
            "5:24: services[0].health.serverName: \"a b\" is neither auto, nor a DNS",
        ),
        (
            "",
            "health: {serverName: 10.0.0.300}",
            "5:24: services[0].health.serverName: \"10.0.0.300\" is neither",
        ),
        (
            "",
            "health: {type: tcp, path: /x}",
            "5:29: services[0].health.path: makes no sense with type tcp (hint:",
        ),
        (
            "",
            "health: {type: tcp, expect: [1]}",
            "5:31: services[0].health.expect: makes no sense with type tcp",
        ),
        ("", "health: {type: tcp, ca: auto}", "5:27: services[0].health.ca: makes no sense with type tcp"),
        (
            "",
            "health: {type: http, serverName: a}",
            "5:36: services[0].health.serverName: makes no sense with type h",
        ),
    ]);
}

#[test]
fn a_bad_duration_is_named_at_its_value() {
    assert_changes(&[
        (
            "",
            "health: {interval: 2}",
            "5:22: services[0].health.interval: \"2\" has no unit (hint: write 2s or 2ms)",
        ),
        (
            "",
            "health: {interval: -2s}",
            "5:22: services[0].health.interval: \"-2s\" is negative (hint: write one",
        ),
        ("", "health: {interval: 0s}", "5:22: services[0].health.interval: must be longer than 0s"),
        ("", "health: {timeout: 0ms}", "5:21: services[0].health.timeout: must be longer than 0s"),
        (
            "",
            "health: {heartbeat: 0s}",
            "5:23: services[0].health.heartbeat: must be longer than 0s (hint: write off",
        ),
        ("", "health: {heartbeat: on}", "5:23: services[0].health.heartbeat: \"on\" is not a duration"),
        ("", "health: {interval: 2h}", "5:22: services[0].health.interval: 2h is longer than 1h"),
        ("", "slowStart: 0s", "5:14: services[0].slowStart: must be longer than 0s"),
        ("", "slowStart: soon", "5:14: services[0].slowStart: \"soon\" is not a duration"),
        ("", "rebalance: {perMinute: 601}", "5:26: services[0].rebalance.perMinute: 601 is not in 0 to 600"),
        ("", "rebalance: {perSecond: 1}", "5:15: services[0].rebalance.perSecond: unknown field"),
        ("", "deadAfter: 61m", "5:14: services[0].deadAfter: 61m is longer than 1h"),
        ("", "deadAfter: 999ms", "5:14: services[0].deadAfter: 999ms is shorter than timeout 1s"),
        (
            "",
            "health: {interval: 2s, timeout: 3s}",
            "5:35: services[0].health.timeout: timeout 3s is longer than interval 2s (hint: a probe must end before",
        ),
        (
            "",
            "health: {interval: 500ms}",
            "5:22: services[0].health.interval: timeout 1s is longer than interval 500ms",
        ),
    ]);
}

#[test]
fn a_bad_path_is_named_at_its_value() {
    let long = format!("admin: {{socket: /{}}}\nservices", "x".repeat(107));
    assert_changes(&[
        (
            "services",
            "bpffs: bpf\nservices",
            "1:8: bpffs: \"bpf\" is not an absolute path (hint: begin it with /)",
        ),
        (
            "services",
            "bpffs: /sys/fs/bpf/a/lb.ctl/b\nservices",
            "1:8: bpffs: \"lb.ctl\" has a dot, and names in a",
        ),
        ("services", "bpffs: /mnt/lb.ctl\nservices", "1:8: bpffs: \"lb.ctl\" has a dot"),
        ("services", "stateDir: var\nservices", "1:11: stateDir: \"var\" is not an absolute path"),
        ("services", "stateDir: ''\nservices", "1:11: stateDir: \"\" is not an absolute path"),
        ("services", "stateDir: \"/a\\0b\"\nservices", "1:11: stateDir: the path contains a NUL byte"),
        ("services", "hosts: {path: hosts}\nservices", "1:15: hosts.path: \"hosts\" is not an absolute path"),
        (
            "services",
            "cgroup: root\nservices",
            "1:9: cgroup: \"root\" is not an absolute path (hint: write auto, or a",
        ),
        (
            "services",
            &long,
            "1:17: admin.socket: the path has 108 bytes, a unix socket's has at most 107 (hint: use",
        ),
        (
            "services",
            "metrics: {listen: 9464}\nservices",
            "1:19: metrics.listen: \"9464\" is not an address and a",
        ),
        ("services", "metrics: {listen: 1.2.3.4:0}\nservices", "1:19: metrics.listen: port 0"),
        (
            "",
            "health: {ca: ca.crt}",
            "5:16: services[0].health.ca: \"ca.crt\" is not an absolute path (hint: write au",
        ),
    ]);
    let fits = LEAST.replacen("services", &long.replacen('x', "", 1), 1);
    assert!(load_text(&fits).is_ok(), "107 bytes fit");
}
