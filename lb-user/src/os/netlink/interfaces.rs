//! The network interfaces of the calling thread's network namespace.

use std::io;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};
use rustix::io::Errno;

use super::{attribute, is, rtnl::Rtnl};

/// The most that are told: the kubelet's default limit is 110 pods on a node.
pub const MAX_INTERFACES: usize = 4096;

/// IFF_UP and IFF_LOOPBACK, include/uapi/linux/if.h.
const UP: u32 = 1;
const LOOPBACK: u32 = 1 << 3;

/// enum of IFLA_*, include/uapi/linux/if_link.h.
mod kind {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const INFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const XDP: u16 = 43;
    pub(super) const XDP_ATTACHED: u16 = 2;
    pub(super) const XDP_PROGRAM: u16 = 4;
    pub(super) const PROPERTIES: u16 = 52;
    pub(super) const OTHER_NAME: u16 = 53;
}

/// What a packet on an interface begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Framing {
    /// An Ethernet header, of 14 bytes.
    Ethernet,
    /// The IP header.
    Ip,
    /// Anything else.
    Other,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number: no other interface has it at the same time.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its other names, ip-link(8)'s altname.
    pub other_names: Vec<String>,
    /// Whether it is switched on. That says nothing about a cable.
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// What its packets begin with.
    pub framing: Framing,
    /// The longest packet, its link-layer header aside.
    pub mtu: u32,
    /// Its link-layer address.
    pub mac: Option<[u8; 6]>,
    /// What made it: veth, bridge, tun, wireguard and so on; hardware has none.
    pub kind: Option<String>,
    /// The number of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
    /// The XDP program that runs on it.
    pub xdp: Option<XdpProgram>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// Its id; 0: there are several, one for each mode.
    pub id: u32,
    /// It is the driver that runs it.
    pub native: bool,
}

/// All interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// By number; the first [`MAX_INTERFACES`].
    pub found: Vec<Interface>,
    /// How many there are beyond that.
    pub left_out: usize,
}

/// Lists the interfaces.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn list() -> io::Result<Interfaces> {
    let answers = Rtnl::open()?.dump_with(&question(0), |_, payload| Ok(read(payload)))?;
    Ok(bounded(answers.into_iter().flatten().collect()))
}

/// One interface; `None`: there is none of this number.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn one(index: u32) -> io::Result<Option<Interface>> {
    match Rtnl::open()?.ask_with(question(index), |_, payload| Ok(read(payload))) {
        Ok(answer) => Ok(answer.flatten()),
        Err(e) if is(&e, Errno::NODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

fn question(index: u32) -> RouteNetlinkMessage {
    let mut question = LinkMessage::default();
    question.header.index = index;
    // Counters of hundreds of interfaces are most of an answer otherwise.
    question.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    RouteNetlinkMessage::GetLink(question)
}

/// Those that were there first stay.
fn bounded(mut found: Vec<Interface>) -> Interfaces {
    found.sort_by_key(|interface| interface.index);
    let left_out = found.len().saturating_sub(MAX_INTERFACES);
    found.truncate(MAX_INTERFACES);
    Interfaces { found, left_out }
}

/// struct ifinfomsg, include/uapi/linux/rtnetlink.h: family, padding, type, index, flags, changed flags; then attributes.
fn read(payload: &[u8]) -> Option<Interface> {
    let (header, attributes) = payload.split_first_chunk::<16>()?;
    let word = |at: usize| header.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let flags = word(8)?;
    let number = |kind| attribute::find(attributes, kind)?.try_into().ok().map(u32::from_ne_bytes);
    let properties = attribute::find(attributes, kind::PROPERTIES).unwrap_or_default();
    let info = attribute::find(attributes, kind::INFO).unwrap_or_default();
    Some(Interface {
        index: word(4)?,
        name: attribute::text(attributes, kind::NAME)?.to_owned(),
        other_names: attribute::read(properties)
            .filter(|(kind, _)| *kind == kind::OTHER_NAME)
            .filter_map(|(_, name)| attribute::as_text(name).map(str::to_owned))
            .collect(),
        up: flags & UP != 0,
        loopback: flags & LOOPBACK != 0,
        framing: framing(u16::from_ne_bytes([header[2], header[3]])),
        mtu: number(kind::MTU).unwrap_or_default(),
        mac: attribute::find(attributes, kind::ADDRESS).and_then(|mac| mac.try_into().ok()),
        kind: attribute::text(info, kind::INFO_KIND).map(str::to_owned),
        master: number(kind::MASTER),
        xdp: attribute::find(attributes, kind::XDP).and_then(xdp),
    })
}

/// IFLA_XDP: how a program is attached (XDP_ATTACHED_NONE, XDP_ATTACHED_DRV and others), and its id.
fn xdp(attributes: &[u8]) -> Option<XdpProgram> {
    const NONE: u8 = 0;
    const NATIVE: u8 = 1;
    let attached = *attribute::find(attributes, kind::XDP_ATTACHED)?.first()?;
    let id = attribute::find(attributes, kind::XDP_PROGRAM).and_then(|id| id.try_into().ok());
    let id = id.map_or(0, u32::from_ne_bytes);
    (attached != NONE).then_some(XdpProgram { id, native: attached == NATIVE })
}

/// ARPHRD_*, include/uapi/linux/if_arp.h. Those without a header: RAWIP (modems), PPP, TUNNEL and TUNNEL6 (ipip, ip6tnl),
/// SIT, IPGRE and IP6GRE, NONE (tun, wireguard, xfrm).
fn framing(kind: u16) -> Framing {
    match kind {
        1 | 772 => Framing::Ethernet,
        512 | 519 | 768 | 769 | 776 | 778 | 823 | 0xfffe => Framing::Ip,
        _ => Framing::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::attribute::Attributes, *};

    fn answer(kind: u16, flags: u32, attributes: &Attributes) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        bytes.extend(kind.to_ne_bytes());
        for word in [7, flags, 0] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(attributes.as_bytes());
        bytes
    }

    #[test]
    fn an_interface_is_read_and_one_that_is_cut_off_is_none() {
        let info = Attributes::default().text(kind::INFO_KIND, "veth");
        let program = Attributes::default()
            .bytes(kind::XDP_ATTACHED, &[1])
            .bytes(kind::XDP_PROGRAM, &77_u32.to_ne_bytes());
        let names = Attributes::default().text(kind::OTHER_NAME, "first").text(kind::OTHER_NAME, "second");
        let attributes = Attributes::default()
            .text(kind::NAME, "pod0")
            .bytes(kind::MTU, &1450_u32.to_ne_bytes())
            .bytes(kind::ADDRESS, &[2, 0, 0, 0, 0, 1])
            .bytes(kind::MASTER, &3_u32.to_ne_bytes())
            .nested(kind::INFO, &info)
            .nested(kind::XDP, &program)
            .nested(kind::PROPERTIES, &names)
            .bytes(999, &[1, 2, 3]);
        let bytes = answer(1, UP, &attributes);
        let expected = Interface {
            index: 7,
            name: "pod0".to_owned(),
            other_names: vec!["first".to_owned(), "second".to_owned()],
            up: true,
            loopback: false,
            framing: Framing::Ethernet,
            mtu: 1450,
            mac: Some([2, 0, 0, 0, 0, 1]),
            kind: Some("veth".to_owned()),
            master: Some(3),
            xdp: Some(XdpProgram { id: 77, native: true }),
        };
        assert_eq!(read(&bytes), Some(expected));
        for end in 0..16 {
            assert_eq!(read(&bytes[..end]), None, "{end} bytes");
        }
        assert_eq!(read(&answer(1, UP, &Attributes::default())), None, "without a name");
    }

    #[test]
    fn packets_of_tunnels_begin_with_the_ip_header() {
        for (kind, expected) in [(1, Framing::Ethernet), (772, Framing::Ethernet), (0xfffe, Framing::Ip)] {
            assert_eq!(framing(kind), expected, "{kind}");
        }
        assert_eq!(framing(32), Framing::Other, "InfiniBand");
    }

    #[test]
    fn of_too_many_those_that_were_there_first_stay() {
        let bytes = answer(1, 0, &Attributes::default().text(kind::NAME, "pod"));
        let one = read(&bytes).unwrap();
        let many = (1..=MAX_INTERFACES as u32 + 5).rev();
        let many = many.map(|index| Interface { index, ..one.clone() }).collect();
        let Interfaces { found, left_out } = bounded(many);
        assert_eq!((found.len(), left_out), (MAX_INTERFACES, 5));
        assert_eq!((found[0].index, found[MAX_INTERFACES - 1].index), (1, MAX_INTERFACES as u32));
    }
}
