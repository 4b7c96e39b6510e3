//! What packets met on their way, by the counters of every network namespace: rfc1213 and rfc4293 by Linux's names.

use std::collections::BTreeMap;

use lb_tests::Lab;
use lb_tests::netns::Netns;

/// The namespace of this part of the lab: `router`, `gateway`, `node`, …
pub fn namespace<'a>(lab: &'a Lab, role: &str) -> &'a Netns {
    lab.namespaces().into_iter().find(|netns| netns.name() == lab.name().role(role)).unwrap()
}

/// A counter as nstat(8) names it: `TcpInCsumErrors`, `Icmp6InPktTooBigs`. Its namespace must have it.
pub fn counted(netns: &Netns, counter: &str) -> u64 {
    counters(netns)[counter]
}

/// The counters of wrong checksums that are not zero, by namespace.
pub fn checksum_errors(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    for netns in lab.namespaces() {
        let counters = counters(netns);
        let wrong = counters.iter().filter(|(name, count)| name.ends_with("InCsumErrors") && **count > 0);
        found.extend(wrong.map(|(name, count)| format!("{}: {name} {count}", netns.name())));
        for counter in [
            "TcpInCsumErrors",
            "UdpInCsumErrors",
            "Udp6InCsumErrors",
            "IcmpInCsumErrors",
            "Icmp6InCsumErrors",
        ] {
            assert!(counters.contains_key(counter), "the kernel counts {counter}: {counters:?}");
        }
    }
    found
}

/// All of them. In /proc/net/snmp a line of names comes before one of values, in /proc/net/snmp6 each name has a line.
fn counters(netns: &Netns) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    let both = netns.read(&["/proc/net/snmp", "/proc/net/snmp6"]).unwrap();
    let mut names: Vec<&str> = Vec::new();
    for line in both.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [group, ref rest @ ..] if group.ends_with(':') && names.first() == Some(&group) => {
                let pairs = names[1..].iter().zip(rest);
                // TcpMaxConn is -1.
                counters.extend(pairs.filter_map(|(name, value)| {
                    Some((format!("{}{name}", group.trim_end_matches(':')), value.parse().ok()?))
                }));
            }
            [name, value] if !name.ends_with(':') => {
                counters.insert(name.to_owned(), value.parse().unwrap());
            }
            _ => names = words,
        }
    }
    counters
}
