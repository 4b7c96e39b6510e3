//! What lvscare leaves on a kernel that has dummy interfaces.

use std::collections::BTreeSet;

use lb_user::dataplane::ipvs::kernel::lvscare;

use crate::fixture::{Netns, ip};

fn vips() -> BTreeSet<std::net::IpAddr> {
    BTreeSet::from([ip("10.103.97.2"), ip("10.103.97.3")])
}

#[test]
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
