//! What our table holds, as data: two sets, and chains with one rule each, for each family.

use std::net::{IpAddr, SocketAddr};

use lb_core::model::Scope;

use super::{Attributes, attribute};

/// The table's name; no other has it, for the name is how it is known as ours.
pub(super) const TABLE: &str = "lbctl";

/// The table's sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// The VIPs that are ours.
    Vips,
    /// Those among them that nobody serves.
    Refused,
}

impl Set {
    pub(super) const ALL: [Self; 2] = [Self::Vips, Self::Refused];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vips => "vips",
            Self::Refused => "refused",
        }
    }
}

/// NFPROTO_IPV4 and NFPROTO_IPV6, include/uapi/linux/netfilter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ip = 2,
    Ip6 = 10,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Ip, Self::Ip6];

    /// The number in messages.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// nft(8)'s name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }

    pub(super) fn has(self, vip: &SocketAddr) -> bool {
        vip.is_ipv4() == matches!(self, Self::Ip)
    }

    /// nft(8)'s numbers for its data types, include/datatype.h there: TYPE_IPADDR and TYPE_IP6ADDR.
    fn address_type(self) -> u32 {
        match self {
            Self::Ip => 7,
            Self::Ip6 => 8,
        }
    }

    /// The bytes of an address.
    fn address_length(self) -> u32 {
        match self {
            Self::Ip => 4,
            Self::Ip6 => 16,
        }
    }

    /// The type of the set's elements, `ipv4_addr . inet_service`: six bits each (TYPE_BITS), 13 is TYPE_INET_SERVICE.
    pub(super) fn key_type(self) -> u32 {
        self.address_type() << 6 | 13
    }

    /// The bytes of the set's elements: each part is padded to four.
    pub(super) fn key_length(self) -> u32 {
        self.address_length() + 4
    }

    /// A set element's bytes.
    pub(super) fn key(self, vip: &SocketAddr) -> Vec<u8> {
        let mut bytes = match vip.ip() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.extend_from_slice(&vip.port().to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes
    }

    /// The VIP that a set element is.
    pub(super) fn vip(self, key: &[u8]) -> Option<SocketAddr> {
        let (port, address) = (|bytes: &[u8; 4]| u16::from_be_bytes([bytes[0], bytes[1]]), key);
        let (address, rest) = match self {
            Self::Ip => {
                let (octets, rest) = address.split_first_chunk::<4>()?;
                (IpAddr::from(*octets), rest)
            }
            Self::Ip6 => {
                let (octets, rest) = address.split_first_chunk::<16>()?;
                (IpAddr::from(*octets), rest)
            }
        };
        Some(SocketAddr::new(address, port(rest.try_into().ok()?)))
    }

    /// The second register of a concatenation follows the first, NFT_REG_1, without a gap: NFT_REG32_01, or NFT_REG_2.
    fn port_register(self) -> u32 {
        match self {
            Self::Ip => 9,
            Self::Ip6 => 2,
        }
    }

    /// enum nft_ct_keys: NFT_CT_DST_IP and NFT_CT_DST_IP6 (Linux 4.17).
    fn ct_address(self) -> u32 {
        match self {
            Self::Ip => 20,
            Self::Ip6 => 22,
        }
    }

    /// Where the destination address stands in the header.
    fn header_address(self) -> u32 {
        match self {
            Self::Ip => 16,
            Self::Ip6 => 24,
        }
    }
}

/// A base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// enum nf_inet_hooks, include/uapi/linux/netfilter.h.
    pub(super) hook: u32,
    /// enum nf_ip_hook_priorities, include/uapi/linux/netfilter_ipv4.h; the same numbers for IPv6.
    pub(super) priority: i32,
    pub(super) rule: Rule,
}

/// What the one rule of a chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// What others sent to a VIP leaves with this node's address, so that the answer comes back through it.
    Masquerade,
    /// What others send to a VIP is refused at once, before IPVS (priority 99 and 98 on the same hook,
    /// net/netfilter/ipvs/ip_vs_core.c) sends it to backends that would answer past this node.
    HostOnly,
    /// Who begins a connection to a VIP that nobody serves is refused at once. IPVS, which comes later, would send an
    /// ICMP error instead, which a socket of this node does not take while it is in connect() (tcp_v4_err,
    /// net/ipv4/tcp_ipv4.c): it would try again after a second. Others' errors are bounded to one in a second (icmp(7)).
    Refuse,
}

impl Rule {
    /// For the people who list it.
    pub(super) fn comment(self) -> &'static str {
        match self {
            Self::Masquerade => "lbctl: answers come back through this node",
            Self::HostOnly => "lbctl: the VIPs serve this host only",
            Self::Refuse => "lbctl: no backend serves",
        }
    }
}

/// The chains that a scope needs.
pub(super) fn chains(scope: Scope) -> Vec<Chain> {
    let input = |rule| Chain { name: "input", kind: "filter", hook: 1, priority: 0, rule };
    // NF_IP_PRI_MANGLE: before IPVS, which has -99 and -98 on this hook.
    let output = Chain { name: "output", kind: "filter", hook: 3, priority: -150, rule: Rule::Refuse };
    match scope {
        Scope::Node => {
            let rule = Rule::Masquerade;
            let out = Chain { name: "postrouting", kind: "nat", hook: 4, priority: 100, rule };
            vec![out, input(Rule::Refuse), output]
        }
        Scope::Host => vec![input(Rule::HostOnly), output],
    }
}

/// One expression of a rule: its name and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) name: &'static str,
    pub(super) attributes: Attributes,
}

impl Expression {
    /// Whether `dumped`, the kernel's account of it, says the same. What a kernel adds on its own is accepted only if it
    /// is zero: an attribute in its default that another kernel leaves out.
    pub(super) fn is_told_by(&self, dumped: &[u8]) -> bool {
        let own = self.attributes.as_bytes();
        attribute::read(own).all(|(kind, payload)| attribute::find(dumped, kind) == Some(payload))
            && attribute::read(dumped).all(|(kind, payload)| {
                attribute::find(own, kind).is_some() || payload.iter().all(|byte| *byte == 0)
            })
    }
}

/// A rule. As nft(8) shows them, for IPv4:
/// `meta l4proto tcp ct original ip daddr . ct original proto-dst @vips oifname != "lo" masquerade`,
/// `meta l4proto tcp ip daddr . tcp dport @vips iifname != "lo" reject with tcp reset` and
/// `tcp flags syn / syn,ack ip daddr . tcp dport @refused reject with tcp reset`.
pub(super) fn rule(family: Family, rule: Rule) -> Vec<Expression> {
    let second = family.port_register();
    let destination = || {
        let address = payload(1, NETWORK_HEADER, family.header_address(), family.address_length());
        [address, payload(second, TRANSPORT_HEADER, 2, 2)]
    };
    // NFTA_REJECT_TYPE: NFT_REJECT_TCP_RST.
    let reset = || Expression { name: "reject", attributes: Attributes::default().number(1, 1) };
    let mut expressions = tcp().to_vec();
    match rule {
        Rule::Masquerade => {
            expressions.extend([ct(family.ct_address(), 1), ct(CT_PROTO_DST, second), lookup(Set::Vips)]);
            expressions.extend(not_loopback(META_OIFNAME));
            expressions.push(Expression { name: "masq", attributes: Attributes::default() });
        }
        Rule::HostOnly => {
            expressions.extend(destination());
            expressions.push(lookup(Set::Vips));
            expressions.extend(not_loopback(META_IIFNAME));
            expressions.push(reset());
        }
        Rule::Refuse => {
            expressions.extend(begins());
            expressions.extend(destination());
            expressions.extend([lookup(Set::Refused), reset()]);
        }
    }
    expressions
}

/// enum nft_ct_keys, enum nft_meta_keys, enum nft_payload_bases.
const CT_PROTO_DST: u32 = 12;
const META_L4PROTO: u32 = 16;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// enum nft_cmp_ops.
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;

fn tcp() -> [Expression; 2] {
    [meta(META_L4PROTO), compare(CMP_EQ, &[TCP])]
}

/// A SYN without an ACK, in byte 13 of the header, RFC 9293. NFTA_BITWISE_SREG, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN,
/// NFTA_BITWISE_MASK and NFTA_BITWISE_XOR with NFTA_DATA_VALUE in them.
fn begins() -> [Expression; 3] {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let value = |byte: u8| Attributes::default().bytes(1, &[byte]);
    let both = Attributes::default().number(1, 1).number(2, 1).number(3, 1);
    let attributes = both.bytes(4, value(SYN | ACK).as_bytes()).bytes(5, value(0).as_bytes());
    let masked = Expression { name: "bitwise", attributes };
    [payload(1, TRANSPORT_HEADER, 13, 1), masked, compare(CMP_EQ, &[SYN])]
}

/// Names of interfaces are compared with all of their IFNAMSIZ bytes.
fn not_loopback(key: u32) -> [Expression; 2] {
    [meta(key), compare(CMP_NEQ, b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0")]
}

/// NFTA_META_DREG, NFTA_META_KEY.
fn meta(key: u32) -> Expression {
    Expression { name: "meta", attributes: Attributes::default().number(1, 1).number(2, key) }
}

/// NFTA_CT_DREG, NFTA_CT_KEY, NFTA_CT_DIRECTION: IP_CT_DIR_ORIGINAL.
fn ct(key: u32, register: u32) -> Expression {
    let attributes = Attributes::default().number(1, register).number(2, key).bytes(3, &[0]);
    Expression { name: "ct", attributes }
}

/// NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN.
fn payload(register: u32, base: u32, offset: u32, length: u32) -> Expression {
    let attributes =
        Attributes::default().number(1, register).number(2, base).number(3, offset).number(4, length);
    Expression { name: "payload", attributes }
}

/// NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA with NFTA_DATA_VALUE in it. The kernel tells of nested ones without the
/// flag, and takes them so.
fn compare(operator: u32, data: &[u8]) -> Expression {
    let data = Attributes::default().bytes(1, data);
    let attributes = Attributes::default().number(1, 1).number(2, operator).bytes(3, data.as_bytes());
    Expression { name: "cmp", attributes }
}

/// NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG.
fn lookup(set: Set) -> Expression {
    Expression { name: "lookup", attributes: Attributes::default().text(1, set.name()).number(2, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_element_is_the_vip_it_was_made_from() {
        for (family, vip) in [(Family::Ip, "10.103.97.2:6443"), (Family::Ip6, "[fd00::2]:443")] {
            let vip: SocketAddr = vip.parse().unwrap();
            let key = family.key(&vip);
            assert_eq!(key.len(), family.key_length() as usize);
            assert_eq!(family.vip(&key), Some(vip));
            assert!(family.has(&vip));
            assert_eq!(family.vip(&key[1..]), None);
        }
    }

    #[test]
    fn an_expression_is_told_with_defaults_but_not_with_differences() {
        let told = |told: Attributes| lookup(Set::Vips).is_told_by(told.as_bytes());
        let base = || Attributes::default().text(1, "vips").number(2, 1);
        assert!(told(base()));
        assert!(told(base().number(5, 0)), "the flags that a kernel adds");
        assert!(!told(base().number(5, 1)), "inverted");
        assert!(!told(Attributes::default().text(1, "vips")), "without the register");
        assert!(!told(Attributes::default().text(1, "other").number(2, 1)));
    }
}
