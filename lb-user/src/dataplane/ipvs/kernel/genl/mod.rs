//! IPVS over generic netlink: services and destinations of this network namespace.

mod codec;
#[cfg(test)]
mod tests;
mod wire;

use std::{io, net::SocketAddr, thread, time::Duration};

use netlink_packet_core::DefaultNla;
use rustix::io::Errno;

use self::wire::{Extent, Message, Netlink, Transport, Wire};
use crate::dataplane::ipvs::{native::Destination, scheduler::Scheduling};

/// GENL_ID_CTRL, CTRL_CMD_GETFAMILY and CTRL_ATTR_*, include/uapi/linux/genetlink.h.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// IPVS_GENL_NAME, include/uapi/linux/ip_vs.h.
const NAME: &[u8] = b"IPVS\0";

/// IPVS_CMD_*, include/uapi/linux/ip_vs.h.
const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DEL_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
const NEW_DEST: u8 = 5;
const SET_DEST: u8 = 6;
const DEL_DEST: u8 = 7;
const GET_DEST: u8 = 8;
const GET_CONFIG: u8 = 13;

/// Failures that pass: somebody else is at it, or memory is short for the moment.
const PASSING: [Errno; 5] = [Errno::BUSY, Errno::NOBUFS, Errno::AGAIN, Errno::INTR, Errno::NOMEM];
/// How often something is tried that failed for a reason that passes.
const ATTEMPTS: u32 = 4;
/// How long to wait before it is tried again; then twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(10);

/// A TCP service as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its virtual address.
    pub vip: SocketAddr,
    /// How a destination is chosen.
    pub scheduling: Scheduling,
}

/// A destination as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationEntry {
    /// Its address.
    pub address: SocketAddr,
    /// Its share, and how packets get there.
    pub destination: Destination,
    /// Connections that are established or being made.
    pub active: u32,
    /// Connections ever sent to it, since it became a destination.
    pub total: u64,
}

/// IPVS in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Ipvs<T = Netlink> {
    wire: Wire<T>,
    family: u16,
}

impl Ipvs {
    /// Asks the kernel for IPVS. It loads its module if it may. `None`: there is none.
    pub fn open() -> io::Result<Option<Self>> {
        Self::over(Netlink::open()?)
    }
}

impl<T: Transport> Ipvs<T> {
    fn over(transport: T) -> io::Result<Option<Self>> {
        let mut wire = Wire::new(transport);
        let name = DefaultNla::new(FAMILY_NAME, NAME.to_vec());
        let request = Message { command: GET_FAMILY, attributes: vec![name] };
        let answer = match retried(|_| wire.ask(CONTROL, &request, Extent::One)) {
            Err(error) if is(&error, Errno::NOENT) => return Ok(None),
            answer => answer?,
        };
        let id = answer.first().and_then(|message| codec::find(&message.attributes, FAMILY_ID));
        let id = id.and_then(|value| value.first_chunk().copied().map(u16::from_ne_bytes));
        let family = id.ok_or_else(|| io::Error::other("the kernel gave no number for the family IPVS"))?;
        Ok(Some(Self { wire, family }))
    }

    /// Every TCP service with an address, of whomever.
    pub fn services(&mut self) -> io::Result<Vec<ServiceEntry>> {
        let answer = self.read(GET_SERVICE, Vec::new(), Extent::All)?;
        let entries = bodies(&answer, codec::SERVICE).map(|body| codec::parse_service(&body));
        entries.filter_map(Result::transpose).collect()
    }

    /// The service at a VIP.
    pub fn service(&mut self, vip: SocketAddr) -> io::Result<Option<ServiceEntry>> {
        let answer = match self.read(GET_SERVICE, vec![codec::service_key(vip)], Extent::One) {
            Err(error) if is(&error, Errno::SRCH) => return Ok(None),
            answer => answer?,
        };
        let body = bodies(&answer, codec::SERVICE).next();
        body.map_or(Ok(None), |body| codec::parse_service(&body))
    }

    /// A service's destinations; none when there is no such service.
    pub fn destinations(&mut self, vip: SocketAddr) -> io::Result<Vec<DestinationEntry>> {
        let answer = self.read(GET_DEST, vec![codec::service_key(vip)], Extent::All)?;
        bodies(&answer, codec::DESTINATION).map(|body| codec::parse_destination(&body, vip)).collect()
    }

    /// After how many seconds of silence an established TCP connection is forgotten.
    pub fn idle_timeout(&mut self) -> io::Result<Option<u32>> {
        let answer = self.read(GET_CONFIG, Vec::new(), Extent::One)?;
        let value = bodies(&answer, codec::TIMEOUT_TCP).next();
        Ok(value.and_then(|value| value.first_chunk().copied().map(u32::from_ne_bytes)))
    }

    /// Makes a service without destinations. ENOENT: the kernel does not have the scheduler.
    pub fn add_service(&mut self, vip: SocketAddr, scheduling: &Scheduling) -> io::Result<()> {
        self.write(NEW_SERVICE, vec![codec::service(vip, scheduling)], Errno::EXIST)
    }

    /// Gives a service another scheduler. ENOENT: the kernel does not have it.
    pub fn set_service(&mut self, vip: SocketAddr, scheduling: &Scheduling) -> io::Result<()> {
        self.write(SET_SERVICE, vec![codec::service(vip, scheduling)], Errno::EXIST)
    }

    /// Takes a service away.
    pub fn remove_service(&mut self, vip: SocketAddr) -> io::Result<()> {
        self.write(DEL_SERVICE, vec![codec::service_key(vip)], Errno::SRCH)
    }

    /// Gives a service another destination.
    pub fn add_destination(&mut self, vip: SocketAddr, address: SocketAddr, weight: u32) -> io::Result<()> {
        let attributes = vec![codec::service_key(vip), codec::destination(address, weight)];
        self.write(NEW_DEST, attributes, Errno::EXIST)
    }

    /// Changes a destination.
    pub fn set_destination(&mut self, vip: SocketAddr, address: SocketAddr, weight: u32) -> io::Result<()> {
        let attributes = vec![codec::service_key(vip), codec::destination(address, weight)];
        self.write(SET_DEST, attributes, Errno::EXIST)
    }

    /// Takes a destination away.
    pub fn remove_destination(&mut self, vip: SocketAddr, address: SocketAddr) -> io::Result<()> {
        let attributes = vec![codec::service_key(vip), codec::destination_key(address)];
        self.write(DEL_DEST, attributes, Errno::NOENT)
    }

    fn read(&mut self, command: u8, attributes: Vec<DefaultNla>, extent: Extent) -> io::Result<Vec<Message>> {
        let message = Message { command, attributes };
        retried(|_| self.wire.ask(self.family, &message, extent))
    }

    /// `done_before`: how the kernel refuses what an earlier attempt, of which nothing was heard, has done.
    fn write(&mut self, command: u8, attributes: Vec<DefaultNla>, done_before: Errno) -> io::Result<()> {
        let message = Message { command, attributes };
        retried(|attempt| match self.wire.ask(self.family, &message, Extent::One) {
            Err(error) if attempt > 0 && is(&error, done_before) => Ok(()),
            answer => answer.map(|_| ()),
        })
    }
}

/// Silence is not answered by asking again: it has cost a whole deadline, and whoever asked looks again anyway.
fn retried<R>(mut attempt: impl FnMut(u32) -> io::Result<R>) -> io::Result<R> {
    for number in 0..ATTEMPTS - 1 {
        match attempt(number) {
            Err(error) if PASSING.into_iter().any(|errno| is(&error, errno)) => {
                thread::sleep(PAUSE * 2_u32.pow(number));
            }
            result => return result,
        }
    }
    attempt(ATTEMPTS - 1)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn bodies(messages: &[Message], kind: u16) -> impl Iterator<Item = Vec<u8>> {
    messages.iter().filter_map(move |message| codec::find(&message.attributes, kind))
}
