use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lb_core::model::Scope;
use lb_user::dataplane::ipvs::kernel::{
    nft::{self, Table},
    route,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::fixture::{Lab, MASTER, MASTER6, NODE, NODE6, Netns, ip};

fn table(scope: Scope, vips: &[&str]) -> Table {
    Table { scope, vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(), refused: BTreeSet::new() }
}

/// A table of which these VIPs are served by nobody.
fn refusing(mut table: Table, refused: &[&str]) -> Table {
    table.refused = refused.iter().map(|vip| vip.parse().unwrap()).collect();
    table
}

const BOTH: [&str; 3] = ["10.103.97.2:6443", "10.103.97.3:443", "[fd00::2]:6443"];

/// nft(8)'s account, without indentation.
fn listed(netns: &Netns, command: &str) -> String {
    let text = netns.sh(command);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The rule that refuses connects to what nobody serves, in a chain of this hook and priority.
fn refusing_chain(hook: &str, priority: &str, family: &str) -> String {
    format!(
        "chain {hook} {{\ntype filter hook {hook} priority {priority}; policy accept;\n\
         tcp flags syn / syn,ack {family} daddr . tcp dport @refused reject with tcp reset \
         comment \"lbctl: no backend serves\"\n}}\n"
    )
}

#[test]
fn nft_shows_the_rules_of_scope_node() {
    let node = Netns::new("node");
    node.run(|| nft::replace(&refusing(table(Scope::Node, &BOTH), &BOTH[1..2]))).unwrap();
    for (family, key, vips, refused) in [
        ("ip", "ipv4_addr", "10.103.97.2 . 6443,\n10.103.97.3 . 443", "elements = { 10.103.97.3 . 443 }\n"),
        ("ip6", "ipv6_addr", "fd00::2 . 6443", ""),
    ] {
        let (input, output) =
            (refusing_chain("input", "filter", family), refusing_chain("output", "mangle", family));
        let expected = format!(
            "table {family} lbctl {{\nset vips {{\ntype {key} . inet_service\nelements = {{ {vips} }}\n}}\n\
             set refused {{\ntype {key} . inet_service\n{refused}}}\n\
             chain postrouting {{\ntype nat hook postrouting priority srcnat; policy accept;\n\
             meta l4proto tcp ct original {family} daddr . ct original proto-dst @vips oifname != \"lo\" \
             masquerade comment \"lbctl: answers come back through this node\"\n}}\n{input}{output}}}"
        );
        assert_eq!(listed(&node, &format!("nft list table {family} lbctl")), expected);
    }
}

#[test]
fn nft_shows_the_rules_of_scope_host() {
    let node = Netns::new("node");
    node.run(|| nft::replace(&table(Scope::Host, &["10.103.97.2:6443", "[fd00::2]:6443"]))).unwrap();
    for (family, key, element) in
        [("ip", "ipv4_addr", "10.103.97.2 . 6443"), ("ip6", "ipv6_addr", "fd00::2 . 6443")]
    {
        let output = refusing_chain("output", "mangle", family);
        let expected = format!(
            "table {family} lbctl {{\nset vips {{\ntype {key} . inet_service\nelements = {{ {element} }}\n}}\n\
             set refused {{\ntype {key} . inet_service\n}}\n\
             chain input {{\ntype filter hook input priority filter; policy accept;\n\
             {family} daddr . tcp dport @vips iifname != \"lo\" reject with tcp reset \
             comment \"lbctl: the VIPs serve this host only\"\n}}\n{output}}}"
        );
        assert_eq!(listed(&node, &format!("nft list table {family} lbctl")), expected);
    }
}

#[test]
fn what_was_written_is_observed_until_it_is_removed() {
    let node = Netns::new("node");
    node.run(|| {
        assert_eq!(nft::observe().unwrap(), None);
        assert_eq!(nft::owned().unwrap(), BTreeSet::new());
        for table in [
            table(Scope::Node, &BOTH),
            table(Scope::Host, &BOTH),
            table(Scope::Host, &["[fd00::2]:6443"]),
            table(Scope::Node, &["10.103.97.9:1"]),
            refusing(table(Scope::Node, &BOTH), &BOTH[1..]),
            refusing(table(Scope::Host, &BOTH), &BOTH[..1]),
        ] {
            nft::replace(&table).unwrap();
            assert_eq!(nft::observe().unwrap().as_ref(), Some(&table));
            assert_eq!(nft::owned().unwrap(), table.vips);
        }
        assert!(nft::remove().unwrap());
        assert!(!nft::remove().unwrap(), "twice is as good as once");
        assert_eq!(nft::observe().unwrap(), None);
        nft::replace(&table(Scope::Node, &[])).unwrap();
        assert_eq!(nft::observe().unwrap(), None, "without a VIP there is no table");
    });
    assert_eq!(node.sh("nft list ruleset"), "");
}

#[test]
fn thousands_of_vips_fit() {
    let node = Netns::new("node");
    let vips =
        |n: u16| [SocketAddr::from(([10, 1, 1, 1], n)), SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], n))];
    let many =
        Table { scope: Scope::Node, vips: (1..=3000).flat_map(vips).collect(), refused: BTreeSet::new() };
    node.run(|| nft::replace(&many).unwrap());
    assert_eq!(node.run(|| nft::observe().unwrap()), Some(many));
}

#[test]
fn whatever_others_change_in_it_is_noticed_and_mended() {
    let node = Netns::new("node");
    let rule = "ip lbctl postrouting";
    for (scope, damage) in [
        (Scope::Node, "nft flush ruleset"),
        (Scope::Node, "nft delete table ip lbctl"),
        (Scope::Node, "nft delete table ip6 lbctl"),
        (Scope::Node, "nft flush chain ip lbctl postrouting"),
        (Scope::Host, "nft flush chain ip6 lbctl input"),
        (Scope::Node, "nft flush table ip lbctl"),
        (
            Scope::Node,
            &format!(
                "nft delete rule {rule} handle $(nft -a list chain {rule} | sed -n 's/.*masq.*handle //p')"
            ),
        ),
        (
            Scope::Node,
            &format!(
                "nft replace rule {rule} handle $(nft -a list chain {rule} | sed -n 's/.*masq.*handle //p') masquerade"
            ),
        ),
        (
            Scope::Host,
            "nft replace rule ip lbctl input handle $(nft -a list chain ip lbctl input | sed -n 's/.*reset.*handle //p') \
             ip daddr . tcp dport != @vips iifname != lo reject with tcp reset comment '\"lbctl: the VIPs serve this host only\"'",
        ),
        (Scope::Node, &format!("nft insert rule {rule} accept")),
        (Scope::Node, &format!("nft add rule {rule} accept")),
        (Scope::Node, "nft flush set ip lbctl vips"),
        (Scope::Node, "nft delete element ip lbctl vips '{ 10.103.97.3 . 443 }'"),
        (Scope::Node, "nft add element ip6 lbctl vips '{ fd00::3 . 1 }'"),
        (Scope::Node, "nft flush chain ip lbctl output"),
        (Scope::Host, "nft flush chain ip6 lbctl output"),
        (Scope::Node, "nft add element ip lbctl refused '{ 10.103.97.3 . 443 }'"),
        (Scope::Node, "nft add chain ip lbctl mine"),
        (Scope::Node, "nft add chain ip lbctl postrouting '{ policy drop; }'"),
        (Scope::Node, "nft add table ip lbctl '{ flags dormant; }'"),
        (Scope::Node, "nft flush chain ip lbctl postrouting; nft delete chain ip lbctl postrouting"),
    ] {
        let wanted = table(scope, &BOTH);
        node.run(|| nft::replace(&wanted)).unwrap();
        assert_eq!(node.run(nft::observe).unwrap().as_ref(), Some(&wanted), "before {damage}");
        let shown = || node.sh("for family in ip ip6; do nft list table $family lbctl || true; done");
        let before = shown();
        node.sh(damage);
        assert_ne!(shown(), before, "{damage} does something");
        assert_ne!(node.run(nft::observe).unwrap().as_ref(), Some(&wanted), "{damage}");
        node.run(|| nft::replace(&wanted)).unwrap();
        assert_eq!(shown(), before, "mended after {damage}");
    }
}

#[test]
fn the_vips_are_known_though_the_rest_is_damaged() {
    let node = Netns::new("node");
    let wanted = table(Scope::Node, &BOTH);
    node.run(|| nft::replace(&wanted)).unwrap();
    node.sh("nft flush table ip lbctl; nft add chain ip6 lbctl mine");
    assert_eq!(node.run(nft::observe).unwrap(), None);
    assert_eq!(node.run(nft::owned).unwrap(), wanted.vips);
}

#[test]
fn flushing_iptables_does_no_harm_and_other_tables_stay() {
    let node = Netns::new("node");
    node.sh("nft add table ip other; nft add chain ip other c; iptables -t nat -A POSTROUTING -j MASQUERADE");
    let wanted = table(Scope::Node, &BOTH);
    node.run(|| nft::replace(&wanted)).unwrap();
    node.sh("iptables -F; iptables -t nat -F; iptables -t nat -X; ip6tables -F");
    assert_eq!(node.run(nft::observe).unwrap(), Some(wanted));
    assert!(node.run(nft::remove).unwrap());
    assert!(node.sh("nft list ruleset").contains("table ip other"));
}

#[test]
fn without_cap_net_admin_it_is_a_matter_of_permission() {
    let node = Netns::new("node");
    let kinds = node.run(|| {
        let mut own = capabilities(None).unwrap();
        own.effective -= CapabilitySet::NET_ADMIN;
        set_capabilities(None, own).unwrap();
        let wanted = table(Scope::Node, &BOTH);
        [nft::observe().unwrap_err(), nft::replace(&wanted).unwrap_err()].map(|e| e.kind())
    });
    assert_eq!(kinds, [io::ErrorKind::PermissionDenied; 2]);
}

/// Stands in for IPVS: sends what comes for the VIPs to the master.
fn emulate_ipvs(node: &Netns, hook: &str) {
    for (family, vip, master) in [("ip", "10.103.97.2", MASTER), ("ip6", "fd00::2", MASTER6)] {
        let master = SocketAddr::new(ip(master), 6443);
        node.sh(&format!(
            "nft add table {family} test
             nft add chain {family} test c '{{ type nat hook {hook} priority -100; }}'
             nft add rule {family} test c {family} daddr {vip} tcp dport 6443 dnat to {master}"
        ));
    }
}

#[test]
fn a_pods_connection_to_a_vip_leaves_with_the_nodes_address_and_no_other_does() {
    let lab = Lab::new();
    emulate_ipvs(&lab.node, "prerouting");
    let accepted = lab.master.accept("[::]:6443");
    let direct = lab.master.accept("[::]:6444");
    lab.master.sh("ip route add 10.244.77.0/24 via 192.168.77.1");
    lab.pod.connect("10.103.97.2:6443".parse().unwrap()).unwrap();
    assert_eq!(accepted.recv().unwrap().ip().to_canonical(), ip("10.244.77.2"), "without the rule");
    lab.master.sh("ip route del 10.244.77.0/24");

    lab.node.run(|| nft::replace(&table(Scope::Node, &BOTH))).unwrap();
    for (vip, source) in [("10.103.97.2:6443", NODE), ("[fd00::2]:6443", NODE6)] {
        lab.pod.connect(vip.parse().unwrap()).unwrap();
        assert_eq!(accepted.recv().unwrap().ip().to_canonical(), ip(source));
    }
    lab.master.sh("ip route add 10.244.77.0/24 via 192.168.77.1");
    lab.pod.connect(format!("{MASTER}:6444").parse().unwrap()).unwrap();
    assert_eq!(direct.recv().unwrap().ip().to_canonical(), ip("10.244.77.2"), "not through a VIP");
}

/// Connects from the pod, over and over, while `change` is called 100 times; the addresses that the master saw. The
/// master can answer whatever address it sees.
fn sources_during(lab: &Lab, mut change: impl FnMut(usize)) -> BTreeMap<IpAddr, usize> {
    emulate_ipvs(&lab.node, "prerouting");
    lab.master.sh("ip route add 10.244.77.0/24 via 192.168.77.1");
    let accepted = lab.master.accept("0.0.0.0:6443");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            lab.pod.run(|| {
                let vip = "10.103.97.2:6443".parse().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    // The master's listener may be full for a moment, and the client then tries again after 1 s.
                    TcpStream::connect_timeout(&vip, Duration::from_secs(10)).unwrap();
                }
            });
        });
        (0..100).for_each(&mut change);
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap();
    });
    let mut sources = BTreeMap::new();
    accepted.try_iter().for_each(|peer| *sources.entry(peer.ip()).or_default() += 1);
    sources
}

#[test]
fn connections_to_a_vip_that_stays_do_not_notice_that_others_come_and_go() {
    let lab = Lab::new();
    let tables = [table(Scope::Node, &BOTH[..2]), table(Scope::Node, &BOTH[..1])];
    lab.node.run(|| nft::replace(&tables[0])).unwrap();
    let sources = sources_during(&lab, |n| lab.node.run(|| nft::replace(&tables[n % 2])).unwrap());
    assert_eq!(sources.keys().collect::<Vec<_>>(), [&ip(NODE)], "{sources:?}");
    assert!(sources[&ip(NODE)] > 100, "{sources:?}");
}

#[test]
fn connections_do_not_notice_that_the_table_is_mended() {
    let lab = Lab::new();
    let wanted = table(Scope::Node, &BOTH);
    lab.node.run(|| nft::replace(&wanted)).unwrap();
    let sources = sources_during(&lab, |_| {
        lab.node.sh("nft add chain ip lbctl mine");
        lab.node.run(|| nft::replace(&wanted)).unwrap();
    });
    assert_eq!(sources.keys().collect::<Vec<_>>(), [&ip(NODE)], "{sources:?}");
    assert!(sources[&ip(NODE)] > 100, "{sources:?}");
}

#[test]
fn with_scope_host_a_pod_is_refused_at_once_and_the_node_itself_is_not() {
    let lab = Lab::new();
    // Whatever gets past the rule is accepted, on the node itself.
    let _accepted = lab.node.accept("[::]:6443");
    for vip in ["10.103.97.2:6443", "[fd00::2]:6443"] {
        let vip: SocketAddr = vip.parse().unwrap();
        lab.node.run(|| route::set(vip.ip(), None)).unwrap();
        lab.pod.connect(vip).unwrap();
        lab.node.run(|| nft::replace(&table(Scope::Host, &BOTH))).unwrap();
        let started = Instant::now();
        assert_eq!(lab.pod.connect(vip).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{vip}");
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        lab.node.connect(vip).unwrap();
        lab.pod
            .connect(SocketAddr::new(ip(if vip.is_ipv4() { "10.244.77.1" } else { "fd44::1" }), 6443))
            .unwrap();
        lab.node.run(nft::remove).unwrap();
    }
}

#[test]
fn what_nobody_serves_is_refused_at_once_while_connections_that_are_there_go_on() {
    let lab = Lab::new();
    // Whatever gets past the rule is accepted, on the node itself.
    let listener = lab.node.run(|| TcpListener::bind("[::]:6443")).unwrap();
    for vip in ["10.103.97.2:6443", "[fd00::2]:6443"] {
        let vip: SocketAddr = vip.parse().unwrap();
        lab.node.run(|| route::set(vip.ip(), None)).unwrap();
        let served = table(Scope::Node, &BOTH);
        lab.node.run(|| nft::replace(&served)).unwrap();
        for client in [&lab.node, &lab.pod] {
            let mut held = client.connect(vip).unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            lab.node.run(|| nft::replace(&refusing(served.clone(), &BOTH))).unwrap();
            let started = Instant::now();
            assert_eq!(client.connect(vip).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{vip}");
            assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
            held.write_all(b"still here").unwrap();
            let mut heard = [0; 10];
            accepted.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"still here");
            lab.node.run(|| nft::replace(&served)).unwrap();
            client.connect(vip).unwrap();
            listener.accept().unwrap();
        }
    }
}
