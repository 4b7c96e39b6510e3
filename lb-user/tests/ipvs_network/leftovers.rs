use std::{collections::BTreeSet, net::IpAddr};

use lb_user::dataplane::ipvs::kernel::lvscare;

use crate::fixture::{Netns, ip};

fn vips() -> BTreeSet<IpAddr> {
    BTreeSet::from([ip("10.103.97.2"), ip("10.103.97.3")])
}

#[test]
fn lvscares_chains_are_reported_wherever_they_are() {
    let node = Netns::new("node");
    assert!(node.run(lvscare::foreign_chains).unwrap().is_empty());
    node.sh("iptables -t nat -N VIRTUAL-SERVICES; iptables -t nat -N KUBE-SERVICES
         iptables -t nat -A OUTPUT -m comment --comment x -j VIRTUAL-SERVICES
         iptables-legacy -t nat -N VIRTUAL-MARK-MASQ; iptables-legacy -t nat -N KUBE-MARK-MASQ
         iptables-legacy -t nat -A VIRTUAL-MARK-MASQ -p tcp --dport 1 -j MARK --or-mark 1
         iptables-legacy -t filter -N VIRTUAL-CANARY");
    assert_eq!(
        node.run(lvscare::foreign_chains).unwrap(),
        [
            "iptables-legacy filter VIRTUAL-CANARY",
            "iptables-legacy nat VIRTUAL-MARK-MASQ",
            "nftables ip nat VIRTUAL-SERVICES"
        ]
    );
}

#[test]
fn an_interface_of_that_name_but_another_kind_is_not_lvscares() {
    let node = Netns::new("node");
    assert_eq!(node.run(|| lvscare::leftovers(&vips())).unwrap(), []);
    node.sh("ip link add lvscare type bridge; ip addr add 10.103.97.2/32 dev lvscare");
    assert_eq!(node.run(|| lvscare::leftovers(&vips())).unwrap(), []);
}
