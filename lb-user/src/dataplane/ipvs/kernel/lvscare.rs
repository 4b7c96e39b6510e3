//! What lvscare, sealos' load balancer, leaves on a node in its link mode: a dummy interface with the VIP as its
//! address, and iptables chains that mark and masquerade what goes to the VIP.
//!
//! The address must go: it makes the VIP the node's own in everybody's eyes, and the source of the node's connections
//! to it. The chains do no harm beside ours, and belong to iptables; they are only reported.

use std::{collections::BTreeSet, fmt, io, net::IpAddr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};
use rustix::io::Errno;

use super::{legacy_iptables, nft};
use crate::os::netlink::{is, rtnl::Rtnl};

/// lvscare's default for `--iface`.
const LINK: &str = "lvscare";
/// What it makes it.
const KIND: InfoKind = InfoKind::Dummy;
/// Its chains in the tables nat and filter.
const CHAINS: [&str; 4] = ["VIRTUAL-SERVICES", "VIRTUAL-POSTROUTING", "VIRTUAL-MARK-MASQ", "VIRTUAL-CANARY"];

/// A VIP of ours that lvscare's interface still owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    vip: IpAddr,
    prefix: u8,
    index: u32,
    link: &'static str,
}

impl Leftover {
    /// The VIP.
    pub fn vip(&self) -> IpAddr {
        self.vip
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vip, prefix, link, .. } = self;
        write!(f, "the address {vip}/{prefix} of the interface {link}, which lvscare left")
    }
}

/// The VIPs among `vips` that lvscare's interface owns.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn leftovers(vips: &BTreeSet<IpAddr>) -> io::Result<Vec<Leftover>> {
    leftovers_on(LINK, &KIND, vips)
}

/// Removes the address, and then the interface, unless it still has another. What is gone already is as good.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn take_over(leftover: &Leftover) -> io::Result<()> {
    take_over_on(leftover, &KIND)
}

/// lvscare's chains, each with where it is. This reads the names of all chains of the node: not for every comparison.
///
/// # Errors
/// When the kernel refuses or is silent. That it lacks nf_tables or the old iptables is no error: then no chains are
/// there.
pub fn foreign_chains() -> io::Result<Vec<String>> {
    let is_lvscares = |chain: &str| CHAINS.contains(&chain);
    let mut found = match nft::chains(is_lvscares) {
        Ok(chains) => chains.into_iter().map(|chain| format!("nftables {chain}")).collect(),
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Vec::new(),
        Err(e) => return Err(e),
    };
    let legacy = legacy_iptables::chains(is_lvscares)?;
    found.extend(legacy.into_iter().map(|chain| format!("iptables-legacy {chain}")));
    found.sort();
    Ok(found)
}

fn leftovers_on(link: &'static str, kind: &InfoKind, vips: &BTreeSet<IpAddr>) -> io::Result<Vec<Leftover>> {
    let mut rtnl = Rtnl::open()?;
    let Some(index) = find(&mut rtnl, link, kind)? else { return Ok(Vec::new()) };
    let owned = addresses(&mut rtnl, index)?.into_iter().filter(|(address, _)| vips.contains(address));
    Ok(owned.map(|(vip, prefix)| Leftover { vip, prefix, index, link }).collect())
}

fn take_over_on(leftover: &Leftover, kind: &InfoKind) -> io::Result<()> {
    let mut rtnl = Rtnl::open()?;
    // The number may belong to another interface by now.
    if find(&mut rtnl, leftover.link, kind)? != Some(leftover.index) {
        return Ok(());
    }
    let mut address = of_link(leftover.index);
    address.header.family = if leftover.vip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    address.header.prefix_len = leftover.prefix;
    address.attributes = vec![AddressAttribute::Local(leftover.vip)];
    gone_is_good(rtnl.ask(RouteNetlinkMessage::DelAddress(address), 0))?;
    if addresses(&mut rtnl, leftover.index)?.iter().all(|(address, _)| is_link_local(*address)) {
        let mut link = LinkMessage::default();
        link.header.index = leftover.index;
        gone_is_good(rtnl.ask(RouteNetlinkMessage::DelLink(link), 0))?;
    }
    Ok(())
}

/// The interface's number, if one of this name is of this kind.
fn find(rtnl: &mut Rtnl, name: &str, kind: &InfoKind) -> io::Result<Option<u32>> {
    let mut named = LinkMessage::default();
    named.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match rtnl.ask(RouteNetlinkMessage::GetLink(named), 0) {
        Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(is_of(&link, kind).then_some(link.header.index)),
        Ok(_) => Ok(None),
        Err(e) if is(&e, Errno::NODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_of(link: &LinkMessage, kind: &InfoKind) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(found) if found == kind))
        }
        _ => false,
    })
}

/// The addresses of an interface, with the lengths of their prefixes.
fn addresses(rtnl: &mut Rtnl, index: u32) -> io::Result<Vec<(IpAddr, u8)>> {
    let answers = rtnl.dump(&RouteNetlinkMessage::GetAddress(of_link(index)))?;
    Ok(answers.iter().filter_map(|answer| address(answer, index)).collect())
}

/// IFA_LOCAL is the interface's own address, IFA_ADDRESS where that is missing, as with IPv6;
/// include/uapi/linux/if_addr.h.
fn address(answer: &RouteNetlinkMessage, index: u32) -> Option<(IpAddr, u8)> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    (message.header.index == index).then_some((address?, message.header.prefix_len))
}

fn of_link(index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message
}

/// The kernel gives each interface one.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn gone_is_good<T>(asked: io::Result<T>) -> io::Result<()> {
    match asked {
        Ok(_) => Ok(()),
        Err(e) if is(&e, Errno::ADDRNOTAVAIL) || is(&e, Errno::NODEV) => Ok(()),
        Err(e) => Err(e),
    }
}
