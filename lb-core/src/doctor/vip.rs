//! Who else may want a VIP: interfaces, the cluster's address ranges, kube-proxy and other IPVS services.

use std::net::SocketAddr;

use super::{AgentFact, CidrFact, CidrUse, Code, Facts, Finding, KubeProxyFact, LinkFact, cidr::Cidr};
use crate::model::{DataplaneKind, Dataplanes};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    if facts.config().is_none() {
        return Vec::new();
    }
    let mut findings = ipvs_foreign(facts);
    findings.extend(kube_proxy(facts));
    findings.extend(interface(facts));
    findings.extend(arp(facts));
    findings.extend(cidr(facts));
    findings
}

fn ipvs_foreign(facts: &Facts) -> Vec<Finding> {
    let Some(ipvs) = &facts.ipvs else { return Vec::new() };
    if ipvs.foreign.is_empty() {
        return vec![Finding::ok(
            Code::IpvsForeign,
            format!("none of {} IPVS services is at a VIP", ipvs.services),
        )];
    }
    let finding = |(vip, destinations): (&SocketAddr, &Vec<SocketAddr>)| {
        let backends = facts.config().into_iter().flat_map(|config| &config.services);
        let members: Vec<_> = backends
            .filter(|service| service.vip == *vip)
            .flat_map(|service| facts.backends_of(service))
            .collect();
        let list: Vec<_> = destinations.iter().map(ToString::to_string).collect();
        let message = format!("somebody else's IPVS service is at {vip}: {}", list.join(", "));
        if uses_packet_alone(facts) {
            Finding::fail(
                Code::IpvsForeign,
                format!(
                    "{message}; it takes the node's own connects, which meet IPVS before they are packets of ours"
                ),
                format!(
                    "stop who made it, remove it (ipvsadm -D -t {vip}), or set dataplane: [socket, packet]"
                ),
            )
        } else if !uses_ipvs(facts) {
            Finding::ok(
                Code::IpvsForeign,
                format!(
                    "{message}; connects of this node do not come as far, the socket dataplane goes first"
                ),
            )
        } else if destinations.iter().all(|address| members.contains(address)) {
            Finding::warn(
                Code::IpvsForeign,
                format!("{message}; the ipvs dataplane takes it over"),
                "stop who made it (lvscare, keepalived), so that two do not write the same service",
            )
        } else {
            Finding::fail(
                Code::IpvsForeign,
                format!("{message}; it is left alone, and takes the connections"),
                format!("stop who made it, or remove it: ipvsadm -D -t {vip}"),
            )
        }
    };
    ipvs.foreign.iter().map(finding).collect()
}

fn kube_proxy(facts: &Facts) -> Vec<Finding> {
    let Some(KubeProxyFact { seen, exclude }) = &facts.kube_proxy else {
        return vec![Finding::ok(Code::KubeProxy, "no sign of kube-proxy in IPVS mode")];
    };
    if !uses_ipvs(facts) {
        let message = format!("in IPVS mode ({seen}); there are no services of ours that it could delete");
        return vec![Finding::ok(Code::KubeProxy, message)];
    }
    let Some(exclude) = exclude else {
        let vips: Vec<_> = facts.vips().map(single).collect();
        return vec![Finding::warn(
            Code::KubeProxy,
            format!("in IPVS mode ({seen}); its excludeCIDRs are unknown"),
            format!("see that the kube-proxy ConfigMap has ipvs.excludeCIDRs: [{}]", vips.join(", ")),
        )];
    };
    let cidrs: Vec<Cidr> = exclude.iter().filter_map(|text| text.parse().ok()).collect();
    let finding = |vip: SocketAddr| {
        if cidrs.iter().any(|cidr| cidr.contains(vip.ip())) {
            return Finding::ok(Code::KubeProxy, format!("in IPVS mode, and leaves {} alone", vip.ip()));
        }
        Finding::fail(
            Code::KubeProxy,
            format!(
                "in IPVS mode ({seen}), and its excludeCIDRs do not contain {}: it deletes our service",
                vip.ip()
            ),
            format!(
                "add {} to ipvs.excludeCIDRs in the kube-proxy ConfigMap and restart kube-proxy",
                single(vip)
            ),
        )
    };
    facts.vips().map(finding).collect()
}

/// Whether ipvs is, or may come to be, the dataplane.
fn uses_ipvs(facts: &Facts) -> bool {
    match (&facts.agent, facts.config().and_then(|config| config.dataplane)) {
        (Some(AgentFact::Running { dataplanes, .. }), _) => dataplanes.has(DataplaneKind::Ipvs),
        (_, Some(named)) => named.has(DataplaneKind::Ipvs),
        (_, None) => !matches!((&facts.programs, &facts.cgroup), (Some(Ok(_)), Some(Ok(_)))),
    }
}

/// Whether packets are translated, and nothing steers connects before.
fn uses_packet_alone(facts: &Facts) -> bool {
    let alone = |dataplanes: Dataplanes| dataplanes.kinds() == [DataplaneKind::Packet];
    match (&facts.agent, facts.config().and_then(|config| config.dataplane)) {
        (Some(AgentFact::Running { dataplanes, .. }), _) => alone(*dataplanes),
        (_, Some(named)) => alone(named),
        (_, None) => false,
    }
}

/// The VIP as a range of one address.
fn single(vip: SocketAddr) -> String {
    format!("{}/{}", vip.ip(), if vip.is_ipv4() { 32 } else { 128 })
}

fn interface(facts: &Facts) -> Vec<Finding> {
    let Some(own) = &facts.own_addresses else { return Vec::new() };
    let owned: Vec<_> = facts.vips().filter(|vip| own.contains(&vip.ip())).collect();
    if owned.is_empty() {
        return vec![Finding::ok(Code::VipInterface, "no interface of this node has a VIP")];
    }
    let finding = |vip: &SocketAddr| {
        Finding::warn(
            Code::VipInterface,
            format!(
                "an interface of this node has {}: kubelets and CNIs may take it for the node's own",
                vip.ip()
            ),
            format!(
                "ip -brief address show to {} names it; stop what put it there (keepalived, kube-vip, lvscare), or take \
                 another VIP where it is a Service's",
                vip.ip()
            ),
        )
    };
    owned.iter().map(finding).collect()
}

/// The route by which ipvs takes packets to a VIP makes the address one of the node's, and the kernel answers ARP for those
/// on any interface unless `arp_ignore` says otherwise (ip-sysctl.rst). Nobody asks for an address outside of his network.
fn arp(facts: &Facts) -> Vec<Finding> {
    let Some(links) = &facts.links else { return Vec::new() };
    if !uses_ipvs(facts) {
        return vec![Finding::ok(Code::VipArp, "no ARP is answered for a VIP")];
    }
    let answered = |vip: SocketAddr| {
        let network =
            |link: &&LinkFact| link.network.parse().is_ok_and(|network: Cidr| network.contains(vip.ip()));
        let link = links.iter().filter(network).find(|link| link.arp_ignore == 0)?;
        let LinkFact { interface, network, .. } = link;
        Some(Finding::fail(
            Code::VipArp,
            format!(
                "{} is in {interface}'s network {network}: with ipvs every node answers ARP for it, and others there take \
                 this node for its owner",
                vip.ip()
            ),
            format!(
                "take a VIP outside of {network}, or `dataplane: socket`, or set net.ipv4.conf.all.arp_ignore=1 on every node"
            ),
        ))
    };
    let findings: Vec<_> = facts.vips().filter_map(answered).collect();
    if findings.is_empty() {
        return vec![Finding::ok(Code::VipArp, "this node answers ARP for no VIP")];
    }
    findings
}

fn cidr(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (used_by, whose) in [(CidrUse::Services, "the cluster's Services"), (CidrUse::Pods, "pods")] {
        let known: Vec<(&CidrFact, Cidr)> = facts
            .cidrs
            .iter()
            .filter(|fact| fact.used_by == used_by)
            .filter_map(|fact| Some((fact, fact.cidr.parse().ok()?)))
            .collect();
        if known.is_empty() {
            findings.push(Finding::warn(
                Code::VipCidr,
                format!("unknown: no file of this node tells the address range of {whose}"),
                match used_by {
                    CidrUse::Services => "compare the VIP with --service-cluster-ip-range on a master",
                    CidrUse::Pods => {
                        "compare the VIP with --cluster-cidr on a master, or with the CNI's own settings"
                    }
                },
            ));
            continue;
        }
        let hits = facts.vips().filter_map(|vip| {
            let (fact, _) = known.iter().find(|(_, cidr)| cidr.contains(vip.ip()))?;
            Some(inside(vip, fact))
        });
        let before = findings.len();
        findings.extend(hits);
        if findings.len() == before {
            let ranges: Vec<_> = known.iter().map(|(fact, _)| fact.cidr.as_str()).collect();
            findings.push(Finding::ok(
                Code::VipCidr,
                format!("no VIP is in the address range of {whose}, {}", ranges.join(", ")),
            ));
        }
    }
    findings
}

/// Pods get addresses one after the other; Services get them at random, so that a clash is unlikely but silent.
fn inside(vip: SocketAddr, CidrFact { used_by, cidr, source }: &CidrFact) -> Finding {
    let ip = vip.ip();
    match used_by {
        CidrUse::Services => Finding::warn(
            Code::VipCidr,
            format!("{ip} is in the address range of Services, {cidr} ({source}): a Service may be given it"),
            "take a VIP outside of it, or see now and then that no Service has it: kubectl get services -A",
        ),
        CidrUse::Pods => Finding::fail(
            Code::VipCidr,
            format!("{ip} is in the address range of pods, {cidr} ({source}): a pod will be given it"),
            "take a VIP outside of it",
        ),
    }
}
