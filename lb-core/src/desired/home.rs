//! `policy: sticky`: which backend is a node's home.

use std::{hash::Hasher as _, net::SocketAddr};

use siphasher::sip::SipHasher13;

use super::DesiredBackend;

/// The backend among `serving` that all connections of `node` go to: by weighted rendezvous hashing (Thaler and
/// Ravishankar 1998; the weights as in Schindelhauer and Schomaker 2005). Every node ranks the backends for itself and
/// takes the first that serves, so that nodes spread in proportion to the weights without talking to each other, and
/// one backend that goes, or comes, moves only the nodes whose home it was, or becomes.
///
/// `None` when nobody serves.
pub fn home(node: &str, serving: &[DesiredBackend]) -> Option<SocketAddr> {
    let rank = |backend: &DesiredBackend| score(node, backend);
    let ranked = serving.iter().map(|backend| (rank(backend), backend.address));
    // Equal scores, which a 64-bit hash hardly ever gives, are decided by the address: the order of `serving` must not.
    let first = ranked.max_by(|(a, one), (b, other)| a.total_cmp(b).then_with(|| one.cmp(other)));
    first.map(|(_, address)| address)
}

/// With u evenly distributed between 0 and 1, -w / ln(u) is the highest of all in proportion to w.
fn score(node: &str, backend: &DesiredBackend) -> f64 {
    // The same on every node, release and processor: not std's, which may change.
    let mut hasher = SipHasher13::new();
    hasher.write(node.as_bytes());
    hasher.write_u8(0);
    hasher.write(backend.address.to_string().as_bytes());
    // The upper 53 bits, all that an f64 can tell apart, and never 0 or 1.
    let u = ((hasher.finish() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(backend.weight) / u.ln()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NODES: u32 = 5_000;

    fn backends(weights: &[u32]) -> Vec<DesiredBackend> {
        let at = |n: usize| SocketAddr::from(([192, 168, 0, n as u8 + 1], 6443));
        weights
            .iter()
            .enumerate()
            .map(|(n, weight)| DesiredBackend { address: at(n), weight: *weight })
            .collect()
    }

    fn homes(serving: &[DesiredBackend]) -> Vec<SocketAddr> {
        (0..NODES).map(|n| home(&format!("node-{n}.example.org"), serving).unwrap()).collect()
    }

    fn shares(homes: &[SocketAddr]) -> BTreeMap<SocketAddr, u32> {
        let mut shares = BTreeMap::new();
        homes.iter().for_each(|home| *shares.entry(*home).or_default() += 1);
        shares
    }

    /// Asserts that each backend is the home of as many nodes as its weight says, give or take four standard deviations
    /// of as many draws.
    fn assert_even(serving: &[DesiredBackend], homes: &[SocketAddr]) {
        let whole: u32 = serving.iter().map(|backend| backend.weight).sum();
        let shares = shares(homes);
        println!("{shares:?}");
        for backend in serving {
            let share = f64::from(backend.weight) / f64::from(whole);
            let expected = f64::from(NODES) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            let actual = f64::from(shares[&backend.address]);
            assert!((actual - expected).abs() <= 4.0 * deviation, "{backend:?}: {actual} of {expected}");
        }
    }

    #[test]
    fn five_thousand_nodes_spread_evenly_over_3_5_and_7_masters() {
        for masters in [3, 5, 7] {
            let serving = backends(&vec![1; masters]);
            assert_even(&serving, &homes(&serving));
        }
    }

    #[test]
    fn nodes_spread_in_proportion_to_the_weights() {
        let serving = backends(&[1, 2, 5]);
        assert_even(&serving, &homes(&serving));
    }

    #[test]
    fn a_death_moves_only_the_dead_ones_nodes_and_spreads_them_evenly_and_its_return_brings_them_back() {
        for masters in [3, 5, 7] {
            let all = backends(&vec![1; masters]);
            let before = homes(&all);
            let alive = &all[1..];
            let after = homes(alive);
            for (old, new) in before.iter().zip(&after) {
                assert!(old == new || *old == all[0].address, "{old} lives, and lost a node to {new}");
            }
            assert_even(alive, &after);
            assert_eq!(homes(&all), before);
        }
    }

    #[test]
    fn a_home_depends_neither_on_the_order_nor_on_the_release() {
        let mut serving = backends(&[1, 1, 1]);
        let forwards = home("node-1", &serving);
        serving.reverse();
        assert_eq!(home("node-1", &serving), forwards);
        assert_eq!(forwards, Some("192.168.0.3:6443".parse().unwrap()), "nodes would move at an upgrade");
        assert_eq!(home("node-1", &[]), None);
    }
}
