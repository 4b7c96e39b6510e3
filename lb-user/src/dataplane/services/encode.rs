//! Between the model's types and the bytes that the kernel programs read.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use lb_common::{
    Endpoint,
    socket::{MAX_MEMBERS, Member, NAME_LENGTH, POLICY_LEAST_CONN, POLICY_RANDOM, POLICY_ROUND_ROBIN, Set},
};
use lb_core::model::ServiceName;

use super::native::{Choice, Serving};

// What the config allows fits the maps.
const _: () = assert!(lb_core::model::MAX_BACKENDS == MAX_MEMBERS);
const _: () = assert!(lb_core::model::MAX_SERVICES == lb_common::socket::MAX_SERVICES as usize);

/// An address as the programs compare it: IPv4 in its v4-mapped form.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    let octets = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    Endpoint::from_host(octets, address.port())
}

/// The way back.
pub fn socket_addr(endpoint: &Endpoint) -> SocketAddr {
    let v6 = Ipv6Addr::from(endpoint.address().octets());
    SocketAddr::new(IpAddr::V6(v6).to_canonical(), endpoint.port())
}

/// The endpoint that lies at an offset in what the programs wrote; `None`: there are fewer bytes.
pub fn endpoint_at(value: &[u8], offset: usize) -> Option<SocketAddr> {
    let bytes = value.get(offset..offset + size_of::<Endpoint>())?;
    let octets = bytes[..16].try_into().ok()?;
    let port = u64::from_ne_bytes(bytes[16..24].try_into().ok()?) as u16;
    Some(socket_addr(&Endpoint::from_host(octets, u16::from_be(port))))
}

/// A name as it lies in a service's record.
pub fn name(name: &ServiceName) -> [u8; NAME_LENGTH + 1] {
    let mut bytes = [0; NAME_LENGTH + 1];
    let text = name.as_str().as_bytes();
    // An RFC 1123 label has at most 63 characters.
    bytes[0] = text.len() as u8;
    bytes[1..=text.len()].copy_from_slice(text);
    bytes
}

/// The way back; `None` when the bytes are not a name.
pub fn parse_name(bytes: &[u8; NAME_LENGTH + 1]) -> Option<ServiceName> {
    let text = bytes.get(1..=usize::from(bytes[0]))?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An empty set: every connect is refused.
pub const EMPTY_SET: Set = Set {
    count: 0,
    policy: POLICY_RANDOM,
    reserve: 0,
    total: 0,
    stride: 1,
    members: [Member { backend: 0, upto: u32::MAX }; MAX_MEMBERS],
};

/// A serving set, given the index of each backend's record. Members beyond [`MAX_MEMBERS`] do not exist: the config
/// allows no more.
pub fn set(serving: &Serving, index: &BTreeMap<SocketAddr, u32>) -> Set {
    let mut set = EMPTY_SET;
    set.policy = match serving.policy {
        Choice::Random => POLICY_RANDOM,
        Choice::RoundRobin => POLICY_ROUND_ROBIN,
        Choice::LeastConn => POLICY_LEAST_CONN,
    };
    let known = serving.weights.iter().filter_map(|(address, weight)| Some((*index.get(address)?, *weight)));
    let mut places = set.members.iter_mut();
    for ((backend, weight), place) in known.zip(&mut places) {
        set.total += weight;
        set.count += 1;
        *place = Member { backend, upto: set.total };
    }
    let reserve = serving.reserve.iter().filter_map(|address| index.get(address));
    for (backend, place) in reserve.zip(&mut places) {
        set.reserve += 1;
        *place = Member { backend: *backend, upto: u32::MAX };
    }
    set.stride = stride(set.total);
    set
}

/// The way back: the weight of each backend record in a set.
pub fn members(set: &Set) -> impl Iterator<Item = (u32, u32)> {
    let count = (set.count as usize).min(MAX_MEMBERS);
    set.members[..count].iter().scan(0, |before, member| {
        let weight = member.upto.saturating_sub(*before);
        *before = member.upto;
        Some((member.backend, weight))
    })
}

/// The backend records that stand by in a set.
pub fn reserve(set: &Set) -> impl Iterator<Item = u32> {
    let first = (set.count as usize).min(MAX_MEMBERS);
    let last = (first + usize::from(set.reserve)).min(MAX_MEMBERS);
    set.members[first..last].iter().map(|member| member.backend)
}

/// Steps of this size visit each point of the round exactly once (it is coprime with `total`) and, being near the
/// golden section, spread a heavy backend's turns instead of giving them all in a row.
fn stride(total: u32) -> u32 {
    let golden = (f64::from(total) * 0.618_034) as u32;
    (golden.max(1)..total).find(|step| gcd(*step, total) == 1).unwrap_or(1)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serving(weights: &[u32]) -> (Serving, BTreeMap<SocketAddr, u32>) {
        let at = |n: usize| SocketAddr::from(([10, 0, 0, n as u8], 6443));
        let weights_by = weights.iter().enumerate().map(|(n, w)| (at(n), *w)).collect();
        let index = (0..weights.len()).map(|n| (at(n), n as u32 + 7)).collect();
        (Serving { policy: Choice::RoundRobin, weights: weights_by, reserve: [].into() }, index)
    }

    #[test]
    fn an_address_survives_the_way_there_and_back() {
        for text in ["10.103.97.2:6443", "[fd00::2]:1", "[::1]:65535", "0.0.0.0:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_addr(&endpoint(address)), address);
        }
    }

    #[test]
    fn a_name_survives_the_way_there_and_back() {
        for text in ["a", &"x".repeat(63)] {
            let service: ServiceName = text.parse().unwrap();
            assert_eq!(parse_name(&name(&service)), Some(service));
        }
        assert_eq!(parse_name(&[0xff; NAME_LENGTH + 1]), None);
        assert_eq!(parse_name(&[0; NAME_LENGTH + 1]), None);
    }

    /// The program's arithmetic, for one round.
    fn round(set: &Set) -> Vec<u32> {
        let member = |point| set.members.iter().find(|m| m.upto > point).unwrap().backend;
        let point = |turn: u64| (turn * u64::from(set.stride) % u64::from(set.total)) as u32;
        (0..u64::from(set.total)).map(|turn| member(point(turn))).collect()
    }

    #[test]
    fn equal_weights_take_turns_strictly() {
        let (serving, index) = serving(&[1, 1, 1]);
        let round = round(&set(&serving, &index));
        let mut sorted = round.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [7, 8, 9]);
    }

    #[test]
    fn a_heavy_backend_does_not_get_all_its_turns_in_a_row() {
        let (serving, index) = serving(&[6, 1, 1]);
        let round = round(&set(&serving, &index));
        assert!(round.windows(5).all(|w| w.iter().any(|b| *b != 7)), "{round:?}");
    }

    proptest! {
        #[test]
        fn every_backend_gets_exactly_its_weight_in_a_round(weights in prop::collection::vec(1_u32..50, 1..64)) {
            let (serving, index) = serving(&weights);
            let set = set(&serving, &index);
            let mut counts = BTreeMap::new();
            for backend in round(&set) {
                *counts.entry(backend).or_insert(0_u32) += 1;
            }
            prop_assert_eq!(counts, members(&set).collect::<BTreeMap<_, _>>());
        }
    }

    #[test]
    fn an_endpoint_is_read_from_a_sockets_value() {
        let address: SocketAddr = "192.168.0.2:6443".parse().unwrap();
        let endpoint = super::endpoint(address);
        let mut value = vec![0; 24];
        value.extend_from_slice(&endpoint.address().octets());
        value.extend_from_slice(&u64::from(endpoint.port_word()).to_ne_bytes());
        assert_eq!(endpoint_at(&value, 24), Some(address));
        assert_eq!(endpoint_at(&value, 30), None);
    }
}
