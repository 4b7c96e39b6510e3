//! The node's own addresses: NETLINK_ROUTE, rtnetlink(7). The VIPs are not among them, for no interface owns one.

use std::{collections::BTreeSet, convert::Infallible, io, net::IpAddr, time::Duration};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use tokio::{
    sync::mpsc::Sender,
    time::{sleep, timeout},
};

use super::netlink::{BUFFER, DEADLINE, Events};

/// The most addresses that are kept, a bound on memory (about 2 MiB): kube-proxy in IPVS mode gives a node one for each
/// cluster IP, and Kubernetes is tested with up to 10,000 services.
const MAX_ADDRESSES: usize = 65_536;
/// How often a dump starts over because addresses changed under it. The last one is taken as it is: where changes
/// never end, [`watch`] hears of the next.
const ATTEMPTS: usize = 5;
/// How long changes are gathered: bringing up an interface or a failover changes several addresses at once.
const GATHER: Duration = Duration::from_millis(100);
/// RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR, include/uapi/linux/rtnetlink.h.
const GROUPS: [u32; 2] = [5, 9];

/// Why the addresses are not known.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Asking the kernel failed.
    #[error("list the addresses of the node's interfaces")]
    List(#[source] io::Error),
    /// The kernel did not answer.
    #[error("list the addresses of the node's interfaces: no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    /// More than can be kept.
    #[error("list the addresses of the node's interfaces: more than {MAX_ADDRESSES}")]
    TooMany,
    /// Listening for changes failed.
    #[error("watch the addresses of the node's interfaces")]
    Watch(#[source] io::Error),
    /// Nobody listens any more.
    #[error("tell of a change of the node's addresses: the receiver is gone")]
    Closed,
}

/// Every address of every interface, up or down, loopback included, in the calling thread's network namespace. An IPv6
/// address that another host turned out to own (duplicate address detection) is left out.
///
/// # Errors
/// When the kernel refuses, or is silent for 2 s.
pub async fn own() -> Result<BTreeSet<IpAddr>, AddressError> {
    let list = async {
        for _ in 1..ATTEMPTS {
            let (addresses, interrupted) = dump().await?;
            if !interrupted {
                return Ok(addresses);
            }
        }
        Ok(dump().await?.0)
    };
    timeout(DEADLINE, list).await.unwrap_or(Err(AddressError::Deadline))
}

/// Sends [`own`] at the start, and again whenever it has changed, 100 ms after the first sign of it, so that changes
/// that come together are told together. Sleeps in between: it looks only when the kernel says that there is something
/// to see.
///
/// While `tx` is full it waits, and then sends the newest set only; a capacity of 1 is enough.
///
/// # Errors
/// When the kernel refuses, or the receiver is gone.
pub async fn watch(tx: Sender<BTreeSet<IpAddr>>) -> Result<Infallible, AddressError> {
    let events = Events::subscribe(&GROUPS).map_err(AddressError::Watch)?;
    let mut told = None;
    loop {
        let permit = tx.reserve().await.map_err(|_| AddressError::Closed)?;
        let addresses = own().await?;
        if told.as_ref() != Some(&addresses) {
            permit.send(addresses.clone());
            told = Some(addresses);
        }
        tokio::select! {
            changed = events.changed() => changed.map_err(AddressError::Watch)?,
            () = tx.closed() => return Err(AddressError::Closed),
        }
        sleep(GATHER).await;
        events.drain().map_err(AddressError::Watch)?;
    }
}

/// One dump, and whether addresses changed under it.
async fn dump() -> Result<(BTreeSet<IpAddr>, bool), AddressError> {
    let socket = request().await.map_err(AddressError::List)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    let (mut addresses, mut interrupted) = (BTreeSet::new(), false);
    loop {
        buffer.clear();
        socket.recv(&mut buffer).await.map_err(AddressError::List)?;
        let end = read(&buffer, &mut addresses, &mut interrupted).map_err(AddressError::List)?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(AddressError::TooMany);
        }
        if end {
            return Ok((addresses, interrupted));
        }
    }
}

/// Asks for the addresses of all families. The socket is connected to the kernel: nobody else can answer.
async fn request() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_ref().connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetAddress(AddressMessage::default()));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let sent = socket.send(&bytes).await?;
    if sent == bytes.len() { Ok(socket) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads one datagram of the answer; whether it was the last.
fn read(mut bytes: &[u8], addresses: &mut BTreeSet<IpAddr>, interrupted: &mut bool) -> io::Result<bool> {
    while !bytes.is_empty() {
        let length = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?.length() as usize;
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).map_err(io::Error::other)?;
        *interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                addresses.extend(owned(&address));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// IFA_LOCAL is the node's address. Where it is missing IFA_ADDRESS is; where both are there and differ, as on a
/// point-to-point link, IFA_ADDRESS is the peer's (include/uapi/linux/if_addr.h).
fn owned(message: &AddressMessage) -> Option<IpAddr> {
    if message.header.flags.contains(AddressHeaderFlags::Dadfailed) {
        return None;
    }
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests;
