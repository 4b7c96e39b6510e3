//! The IPv4 networks that the node's interfaces are in, and whether the kernel answers ARP there for any local address.

use std::net::Ipv4Addr;

use lb_core::doctor::{Code, Facts, LinkFact};

use super::{Host, known};

/// Destination and mask as the kernel prints numbers in network byte order on this machine, proc_pid_net(5).
const ROUTES: &str = "/proc/net/route";
/// RTF_UP, and RTF_GATEWAY, include/uapi/linux/route.h.
const UP: u32 = 1;
const GATEWAY: u32 = 2;

pub(super) fn look(host: &Host, facts: &mut Facts) {
    let routes = known(facts, Code::VipArp, "list this node's networks", host.read(ROUTES)).flatten();
    facts.links = routes.map(|text| {
        text.lines().skip(1).filter_map(network).map(|(name, network)| link(host, name, network)).collect()
    });
}

fn link(host: &Host, interface: &str, network: String) -> LinkFact {
    let of = |name: &str| {
        let text = host.read(format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore")).ok().flatten();
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    let arp_ignore = of("all").max(of(interface));
    LinkFact { interface: interface.to_owned(), network, arp_ignore }
}

/// The interface and the network of a line that is about a network on a link: `Iface Destination Gateway Flags RefCnt Use
/// Metric Mask MTU Window IRTT`.
fn network(line: &str) -> Option<(&str, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[interface, destination, _, flags, _, _, _, mask, ..] = fields.as_slice() else { return None };
    let number = |text| u32::from_str_radix(text, 16).ok();
    let (flags, mask) = (number(flags)?, number(mask)?);
    if flags & UP == 0 || flags & GATEWAY != 0 || mask == 0 {
        return None;
    }
    let address = Ipv4Addr::from(number(destination)?.to_ne_bytes());
    Some((interface, format!("{address}/{}", mask.count_ones())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0\n\
        eth1\t0000000A\t0100A8C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\
        short line\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn networks_on_links_are_told_and_those_behind_routers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/net/route", TABLE);
        write("proc/sys/net/ipv4/conf/all/arp_ignore", "1\n");
        write("proc/sys/net/ipv4/conf/eth0/arp_ignore", "0\n");
        let mut facts = Facts::default();
        look(&Host::new(dir.path()), &mut facts);
        let link =
            LinkFact { interface: "eth0".to_owned(), network: "192.168.0.0/22".to_owned(), arp_ignore: 1 };
        assert_eq!(facts.links, Some(vec![link]));
    }
}
