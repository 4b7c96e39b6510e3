use super::*;
use Severity::{Fail, Ok as Good, Warn};

fn service_at_vip(facts: &mut Facts, destinations: &[&str]) {
    let destinations = destinations.iter().map(|address| address.parse().unwrap()).collect();
    facts.ipvs = Some(IpvsFacts { services: 3, foreign: [(VIP.parse().unwrap(), destinations)].into() });
}

fn beside_ipvs(facts: &mut Facts, destinations: &[&str]) {
    facts.agent = agent(DataplaneKind::Ipvs, None);
    service_at_vip(facts, destinations);
}

#[test]
fn somebody_elses_ipvs_service_at_the_vip() {
    check(
        Code::IpvsForeign,
        &[
            (|_| (), Good, "none of 0 IPVS services"),
            (|f| service_at_vip(f, &BACKENDS), Good, "the socket dataplane goes first"),
            (
                |f| {
                    service_at_vip(f, &BACKENDS);
                    f.agent = agent(DataplaneKind::Packet, None);
                },
                Fail,
                "takes the node's own connects",
            ),
            (|f| beside_ipvs(f, &BACKENDS), Warn, "takes it over"),
            (|f| beside_ipvs(f, &[BACKENDS[0], "10.0.0.9:6443"]), Fail, "left alone"),
        ],
    );
    assert!(
        found(Code::IpvsForeign, |facts| facts.ipvs = None).0.is_empty(),
        "nothing to say where there is no IPVS"
    );
}

fn kube_proxy(facts: &mut Facts, exclude: Option<&[&str]>) {
    facts.agent = agent(DataplaneKind::Ipvs, None);
    let exclude = exclude.map(|cidrs| cidrs.iter().map(|cidr| (*cidr).to_owned()).collect());
    facts.kube_proxy = Some(KubeProxyFact { seen: "its config".to_owned(), exclude });
}

#[test]
fn kube_proxy_in_ipvs_mode_must_leave_the_vip_alone_where_we_use_ipvs_too() {
    check(
        Code::KubeProxy,
        &[
            (|_| (), Good, "no sign"),
            (|f| kube_proxy(f, Some(&["10.103.0.0/16"])), Good, "leaves 10.103.97.2 alone"),
            (|f| kube_proxy(f, None), Warn, "excludeCIDRs are unknown"),
            (|f| kube_proxy(f, Some(&[])), Fail, "deletes our service"),
            (|f| kube_proxy(f, Some(&["10.104.0.0/16", "nonsense"])), Fail, "deletes our service"),
            (
                |f| {
                    kube_proxy(f, Some(&[]));
                    f.agent = agent(DataplaneKind::Socket, None);
                },
                Good,
                "no services of ours",
            ),
            (
                |f| {
                    kube_proxy(f, Some(&[]));
                    f.agent = Some(AgentFact::NotRunning);
                },
                Good,
                "no services of ours",
            ),
            (
                |f| {
                    kube_proxy(f, Some(&[]));
                    f.agent = Some(AgentFact::NotRunning);
                    f.programs = Some(Err(lack()));
                },
                Fail,
                "deletes our service",
            ),
        ],
    );
}

#[test]
fn a_vip_on_an_interface() {
    let owned: Change = |facts| {
        facts.own_addresses.as_mut().unwrap().insert("10.103.97.2".parse().unwrap());
    };
    check(
        Code::VipInterface,
        &[(|_| (), Good, "no interface"), (owned, Warn, "an interface of this node has 10.103.97.2")],
    );
}

/// The only interface's network is 10.103.97.0/24.
fn in_the_vips_network(facts: &mut Facts, dataplane: DataplaneKind, arp_ignore: u32) {
    facts.agent = agent(dataplane, None);
    let link = &mut facts.links.as_mut().unwrap()[0];
    (link.network, link.arp_ignore) = ("10.103.97.0/24".to_owned(), arp_ignore);
}

#[test]
fn a_vip_in_the_network_of_an_interface() {
    check(
        Code::VipArp,
        &[
            (|_| (), Good, "no ARP is answered"),
            (|f| f.agent = agent(DataplaneKind::Ipvs, None), Good, "answers ARP for no VIP"),
            (|f| in_the_vips_network(f, DataplaneKind::Socket, 0), Good, "no ARP is answered"),
            (|f| in_the_vips_network(f, DataplaneKind::Ipvs, 1), Good, "answers ARP for no VIP"),
            (
                |f| in_the_vips_network(f, DataplaneKind::Ipvs, 0),
                Fail,
                "10.103.97.2 is in eth0's network 10.103.97.0/24",
            ),
        ],
    );
}

#[test]
fn a_vip_inside_the_clusters_ranges() {
    check(
        Code::VipCidr,
        &[
            (|_| (), Good, "10.96.0.0/16"),
            (
                |f| f.cidrs[0].cidr = "10.96.0.0/12".to_owned(),
                Warn,
                "in the address range of Services, 10.96.0.0/12",
            ),
            (|f| f.cidrs[1].cidr = "10.0.0.0/8".to_owned(), Fail, "in the address range of pods, 10.0.0.0/8"),
            (|f| f.cidrs.truncate(1), Warn, "unknown: no file of this node tells the address range of pods"),
            (|f| f.cidrs[0].cidr = "nonsense".to_owned(), Warn, "range of the cluster's Services"),
        ],
    );
}
