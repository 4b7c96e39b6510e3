//! The qdisc that filters hang on, RTM_*QDISC: an interface has one of clsact, with filters for both directions, or
//! ingress, or none.

use std::{collections::BTreeMap, io};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};
use rustix::io::Errno;

use crate::{
    dataplane::tc::place::Direction,
    os::netlink::{attribute, is, rtnl::Rtnl},
};

/// TCA_KIND, include/uapi/linux/rtnetlink.h.
const KIND: u16 = 1;
/// TC_H_CLSACT and its handle, include/uapi/linux/pkt_sched.h.
const PARENT: u32 = 0xffff_fff1;
const HANDLE: u32 = 0xffff_0000;

/// The qdisc of an interface that filters hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qdisc {
    /// For both directions.
    Clsact,
    /// For what comes in.
    Ingress,
}

impl Qdisc {
    /// Whether packets in a direction meet its filters.
    pub(super) fn takes(self, direction: Direction) -> bool {
        self == Self::Clsact || direction == Direction::In
    }
}

/// Those of all interfaces.
pub(super) fn list(rtnl: &mut Rtnl) -> io::Result<BTreeMap<u32, Qdisc>> {
    let question = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    // A question for one only is told to everybody who listens for changes (tc_get_qdisc, net/sched/sch_api.c).
    match rtnl.dump_with(&question, |_, payload| Ok(read(payload))) {
        Ok(answers) => Ok(answers.into_iter().flatten().collect()),
        // A kernel without qdiscs.
        Err(e) if is(&e, Errno::OPNOTSUPP) => Ok(BTreeMap::new()),
        Err(e) => Err(e),
    }
}

/// Gives an interface that has none a clsact.
pub(super) fn add(rtnl: &mut Rtnl, interface: u32) -> io::Result<()> {
    let message = RouteNetlinkMessage::NewQueueDiscipline(clsact(interface));
    rtnl.ask(message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Takes away an interface's clsact. None there is as good.
pub(super) fn remove(rtnl: &mut Rtnl, interface: u32) -> io::Result<()> {
    match rtnl.ask(RouteNetlinkMessage::DelQueueDiscipline(clsact(interface)), 0) {
        Ok(_) => Ok(()),
        Err(e) if [Errno::NODEV, Errno::NOENT, Errno::INVAL].iter().any(|errno| is(&e, *errno)) => Ok(()),
        Err(e) => Err(e),
    }
}

fn clsact(interface: u32) -> TcMessage {
    let mut message = TcMessage::with_index(interface.cast_signed());
    message.header.parent = TcHandle::from(PARENT);
    message.header.handle = TcHandle::from(HANDLE);
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    message
}

/// struct tcmsg, include/uapi/linux/rtnetlink.h: family, padding, interface, and so on; then attributes.
fn read(payload: &[u8]) -> Option<(u32, Qdisc)> {
    let (header, attributes) = payload.split_first_chunk::<20>()?;
    let interface = header.get(4..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))?;
    let qdisc = match attribute::text(attributes, KIND)? {
        "clsact" => Qdisc::Clsact,
        "ingress" => Qdisc::Ingress,
        _ => return None,
    };
    Some((interface, qdisc))
}
