//! Packets of chance, most of them nearly right: what is not of the connection is left alone to the last byte, and what is
//! taken differs from what came in where it should, with checksums as right or wrong as they were.

use std::{
    env,
    time::{Duration, Instant},
};

use super::{
    super::{conversation::Conversation, kernel::Interface, packet::ACK, setup::hex},
    machine::{Action, BACKEND_MAC, CLIENT_MAC, Machine, each, one_hop_on},
};

/// xorshift64: what comes is the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// The sum of all words in ones' complement.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Both are zero.
    if sum == 0xffff { 0 } else { sum as u16 }
}

/// The network header's sum and that of the segment with its pseudo header, whatever they should be.
fn sums(bytes: &[u8], v6: bool) -> [u16; 2] {
    let (l3, l4, addresses) = if v6 { (14, 54, 22..54) } else { (14, 34, 26..34) };
    let word = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let end = if v6 { 54 + word(18) } else { 14 + word(16) };
    let header = if v6 { 0 } else { sum(&bytes[l3..l4]) };
    [header, sum(&[&bytes[addresses], &bytes[l4..end]].concat())]
}

/// Changes some of the first bytes, or the length.
fn mangled(chance: &mut Chance, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..chance.below(4) {
        let at = chance.below(bytes.len().min(90));
        bytes[at] = match chance.below(3) {
            0 => bytes[at] ^ 1 << chance.below(8),
            1 => 0,
            _ => chance.below(256) as u8,
        };
    }
    if chance.below(8) == 0 {
        bytes.truncate(14 + chance.below(bytes.len() - 14));
    }
    bytes
}

fn check(machine: &mut Machine, talk: &Conversation, chance: &mut Chance) -> Action {
    let forth = chance.below(2) == 0;
    let (wire, ends) = match forth {
        true => (Interface::Facing, (talk.client, talk.vip)),
        false => (Interface::Uplink, (talk.backend, talk.source)),
    };
    let length = chance.below(64);
    let plain = machine.tcp(wire, ends, ACK).data(&vec![chance.below(256) as u8; length]);
    let given = mangled(chance, &plain.bytes());
    let (action, found) = machine.run(wire, &given);
    match action {
        Action::Pass => assert_eq!(hex(&found), hex(&given)),
        Action::Redirected => {
            let l4 = plain.l4();
            // The ends are the connection's, or it is foreign.
            let (addresses, ports) = (if ends.0.is_ipv4() { 26..34 } else { 22..54 }, l4..l4 + 4);
            for same in [0..6, 12..14, addresses.clone(), ports.clone()] {
                assert_eq!(given[same.clone()], plain.bytes()[same], "{}", hex(&given));
            }
            let wanted = match forth {
                true => one_hop_on(&plain, (talk.source, talk.backend), Interface::Uplink, BACKEND_MAC),
                false => one_hop_on(&plain, (talk.vip, talk.client), Interface::Facing, CLIENT_MAC),
            };
            let mut rebuilt = given.clone();
            for changed in [0..12, addresses, ports] {
                rebuilt[changed.clone()].copy_from_slice(&wanted.bytes()[changed]);
            }
            rebuilt[if ends.0.is_ipv4() { 22 } else { 21 }] -= 1;
            let checksums: &[_] = if ends.0.is_ipv4() { &[24, 50] } else { &[70] };
            for checksum in checksums.iter().map(|at| *at..at + 2) {
                rebuilt[checksum.clone()].copy_from_slice(&found[checksum]);
            }
            assert_eq!(hex(&found), hex(&rebuilt), "from {}", hex(&given));
            let v6 = ends.0.is_ipv6();
            assert_eq!(sums(&found, v6), sums(&given, v6), "{} from {}", hex(&found), hex(&given));
        }
        other => panic!("{other:?}: {}", hex(&given)),
    }
    action
}

#[test]
fn no_packet_surprises_xdp() {
    let seconds = env::var("LBCTL_FUZZ_SECONDS").map_or(4, |seconds| seconds.parse().unwrap());
    each(|machine, talk| {
        let (end, mut chance) =
            (Instant::now() + Duration::from_secs(seconds) / 2, Chance(0x9e37_79b9_7f4a_7c15));
        let (mut passed, mut taken) = (0_u64, 0_u64);
        while Instant::now() < end {
            // TC would see it once a second.
            machine.flow(|flow| flow.seen += 1_000_000_000);
            for _ in 0..512 {
                match check(machine, talk, &mut chance) {
                    Action::Pass => passed += 1,
                    _ => taken += 1,
                }
            }
        }
        eprintln!("{passed} packets passed, {taken} taken");
        assert!(passed > 100 && taken > 100, "{passed} passed, {taken} taken");
    });
}
