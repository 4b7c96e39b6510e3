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

#[test]
#[ignore = "needs dummy interfaces"]
fn lvscares_address_is_taken_over_and_its_interface_with_the_last() {
    let node = Netns::new("node");
    node.sh("ip link add lvscare type dummy; ip link set lvscare up
         ip addr add 10.103.97.2/32 dev lvscare; ip addr add 10.103.97.3/32 dev lvscare
         ip addr add 10.103.97.4/32 dev lvscare");
    let found = node.run(|| lvscare::leftovers(&vips())).unwrap();
    let owned: Vec<_> = found.iter().map(lvscare::Leftover::vip).collect();
    assert_eq!(owned, [ip("10.103.97.2"), ip("10.103.97.3")]);
    assert!(found[0].to_string().contains("10.103.97.2/32 of the interface lvscare"), "{}", found[0]);
    for leftover in &found {
        node.run(|| lvscare::take_over(leftover)).unwrap();
        node.run(|| lvscare::take_over(leftover)).unwrap();
    }
    assert_eq!(node.run(|| lvscare::leftovers(&vips())).unwrap(), []);
    let left = node.sh("ip -o addr show dev lvscare");
    assert!(left.contains("10.103.97.4") && !left.contains("10.103.97.2"), "another's address stays: {left}");

    let last = node.run(|| lvscare::leftovers(&BTreeSet::from([ip("10.103.97.4")]))).unwrap();
    node.run(|| lvscare::take_over(&last[0])).unwrap();
    assert!(!node.sh("ip -o link show").contains("lvscare"), "and the interface goes with the last");
    node.run(|| lvscare::take_over(&last[0])).unwrap();
}
