//! The filters on an interface, RTM_*TFILTER.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use rustix::io::Errno;

use super::qdisc::Qdisc;
use crate::{
    dataplane::tc::place::{Direction, Owner, Place},
    os::netlink::{attribute, is, rtnl::Rtnl},
};

/// TC_H_MIN_INGRESS and TC_H_MIN_EGRESS of TC_H_CLSACT, include/uapi/linux/pkt_sched.h.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// ETH_P_ALL, include/uapi/linux/if_ether.h: packets of all protocols.
const ALL: u16 = 3;
/// What can run a program.
const BPF: &str = "bpf";
/// TCA_BPF_FLAG_ACT_DIRECT: what the program returns is the verdict.
const DIRECT: u32 = 1;

/// enum of TCA_* and of TCA_BPF_*, include/uapi/linux/rtnetlink.h and pkt_cls.h.
mod kind {
    pub(super) const KIND: u16 = 1;
    pub(super) const OPTIONS: u16 = 2;
    pub(super) const BPF_FD: u16 = 6;
    pub(super) const BPF_NAME: u16 = 7;
    pub(super) const BPF_FLAGS: u16 = 8;
    pub(super) const BPF_ID: u16 = 11;
}

/// A filter. Each kind at each priority also shows without a handle, as what holds its filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) kind: String,
    pub(super) priority: u16,
    /// In the machine's order.
    protocol: u16,
    pub(super) handle: u32,
    /// Of a bpf filter.
    pub(super) name: Option<String>,
    /// The id of a bpf filter's program.
    pub(super) program: Option<u32>,
}

impl Filter {
    /// Whether it is this owner's.
    pub(super) fn is_of(&self, owner: Owner) -> bool {
        self.kind == BPF && self.handle == owner.handle() && self.name.as_deref() == Some(owner.name())
    }

    /// Whether it is one of ours.
    pub(super) fn is_ours(&self) -> bool {
        Owner::ALL.into_iter().any(|owner| self.is_of(owner))
    }

    /// Whether it is a filter, and not what holds the filters of a kind. Of those that run no program only what holds
    /// them counts.
    pub(super) fn is_one(&self) -> bool {
        (self.handle != 0) == (self.kind == BPF)
    }
}

/// The filters at a place, in the order in which they run. Those of an ingress qdisc the kernel tells for both directions.
pub(super) fn list(rtnl: &mut Rtnl, place: Place, qdisc: Option<Qdisc>) -> io::Result<Vec<Filter>> {
    if !qdisc.is_some_and(|qdisc| qdisc.takes(place.direction)) {
        return Ok(Vec::new());
    }
    let question = RouteNetlinkMessage::GetTrafficFilter(at(place));
    match rtnl.dump_with(&question, |_, payload| Ok(read(payload))) {
        Ok(filters) => Ok(filters.into_iter().flatten().collect()),
        Err(e) if is(&e, Errno::NODEV) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The first priority at which a bpf filter of ours can be put, so that it is the first to run: there each filter is put before
/// those that are there, and filters of one priority are of one kind and protocol.
pub(super) fn priority(there: &[Filter]) -> u16 {
    let suits = |filter: &Filter| filter.kind == BPF && filter.protocol == ALL;
    let free = |priority: &u16| there.iter().filter(|filter| filter.priority == *priority).all(suits);
    (1..=u16::MAX).find(free).unwrap_or(u16::MAX)
}

/// Adds our filter.
pub(super) fn add(
    rtnl: &mut Rtnl,
    place: Place,
    owner: Owner,
    priority: u16,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let message = RouteNetlinkMessage::NewTrafficFilter(running(place, owner, priority, program));
    rtnl.ask(message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Gives our filter another program. The kernel puts the one in the place of the other (`list_replace_rcu`,
/// net/sched/cls_bpf.c): each packet meets either.
pub(super) fn replace(
    rtnl: &mut Rtnl,
    place: Place,
    owner: Owner,
    priority: u16,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let message = RouteNetlinkMessage::NewTrafficFilter(running(place, owner, priority, program));
    rtnl.ask(message, NLM_F_REPLACE).map(drop)
}

/// Removes our filter. None there is as good.
pub(super) fn remove(rtnl: &mut Rtnl, place: Place, owner: Owner, priority: u16) -> io::Result<()> {
    let message = RouteNetlinkMessage::DelTrafficFilter(own(place, owner, priority));
    match rtnl.ask(message, 0) {
        Ok(_) => Ok(()),
        // The interface, its qdisc or the filter is gone.
        Err(e) if [Errno::NODEV, Errno::NOENT, Errno::INVAL].iter().any(|errno| is(&e, *errno)) => Ok(()),
        Err(e) => Err(e),
    }
}

fn running(place: Place, owner: Owner, priority: u16, program: BorrowedFd<'_>) -> TcMessage {
    let number = |kind, value: u32| TcOption::Other(DefaultNla::new(kind, value.to_ne_bytes().to_vec()));
    let name = [owner.name().as_bytes(), &[0]].concat();
    let mut message = own(place, owner, priority);
    message.attributes.push(TcAttribute::Options(vec![
        number(kind::BPF_FD, program.as_raw_fd() as u32),
        TcOption::Other(DefaultNla::new(kind::BPF_NAME, name)),
        number(kind::BPF_FLAGS, DIRECT),
    ]));
    message
}

/// What tells our filter from all others at a place.
fn own(place: Place, owner: Owner, priority: u16) -> TcMessage {
    let mut message = at(place);
    message.header.handle = TcHandle::from(owner.handle());
    message.header.info = u32::from(priority) << 16 | u32::from(ALL.to_be());
    message.attributes = vec![TcAttribute::Kind(BPF.to_owned())];
    message
}

fn at(place: Place) -> TcMessage {
    let mut message = TcMessage::with_index(place.interface.cast_signed());
    message.header.parent = TcHandle::from(match place.direction {
        Direction::In => INGRESS,
        Direction::Out => EGRESS,
    });
    message
}

/// struct tcmsg, include/uapi/linux/rtnetlink.h: family, padding, interface, handle, parent, priority and protocol; then
/// attributes.
fn read(payload: &[u8]) -> Option<Filter> {
    let (header, attributes) = payload.split_first_chunk::<20>()?;
    let word = |at: usize| header.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let info = word(16)?;
    let kind = attribute::text(attributes, kind::KIND)?.to_owned();
    let of_bpf = attribute::find(attributes, kind::OPTIONS).filter(|_| kind == BPF).unwrap_or_default();
    let number = |kind| attribute::find(of_bpf, kind)?.try_into().ok().map(u32::from_ne_bytes);
    Some(Filter {
        priority: (info >> 16) as u16,
        protocol: u16::from_be(info as u16),
        handle: word(8)?,
        name: attribute::text(of_bpf, kind::BPF_NAME).map(str::to_owned),
        program: number(kind::BPF_ID),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(kind: &str, priority: u16, protocol: u16) -> Filter {
        Filter { kind: kind.to_owned(), priority, protocol, handle: 1, name: None, program: None }
    }

    #[test]
    fn our_filter_comes_first_where_its_kind_allows() {
        assert_eq!(priority(&[]), 1);
        assert_eq!(priority(&[filter("bpf", 1, ALL), filter("u32", 2, ALL)]), 1);
        assert_eq!(priority(&[filter("u32", 1, ALL), filter("bpf", 2, 0x0800), filter("flower", 4, ALL)]), 3);
    }

    #[test]
    fn ours_is_known_by_kind_handle_and_name_together() {
        let handle = Owner::Packet.handle();
        let own = Filter { handle, name: Some("lbctl-packet".to_owned()), ..filter("bpf", 1, ALL) };
        assert!(own.is_of(Owner::Packet) && !own.is_of(Owner::Rescue) && own.is_ours() && own.is_one());
        for other in [
            Filter { handle: 1, ..own.clone() },
            Filter { name: Some("cil_from_netdev".to_owned()), ..own.clone() },
            Filter { name: None, ..own.clone() },
            Filter { kind: "flower".to_owned(), ..own.clone() },
        ] {
            assert!(!other.is_ours(), "{other:?}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        for length in 0..24 {
            assert_eq!(read(&vec![0; length]), None);
        }
    }
}
