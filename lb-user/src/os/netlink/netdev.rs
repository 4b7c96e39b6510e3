//! What drivers can do with XDP, by the generic netlink family `netdev` (Linux 6.3), include/uapi/linux/netdev.h.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

use super::{
    BUFFER, DEADLINE, as_timeout,
    attribute::{self, Attributes},
    is, no_answer,
};

/// GENL_ID_CTRL, CTRL_CMD_GETFAMILY and CTRL_ATTR_*, include/uapi/linux/genetlink.h.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// NETDEV_CMD_DEV_GET and NETDEV_A_DEV_*.
const GET_DEVICE: u8 = 1;
const INTERFACE: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// NLM_F_REQUEST, and NLMSG_ERROR, include/uapi/linux/netlink.h.
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// Bytes of struct nlmsghdr and struct genlmsghdr.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// NETDEV_XDP_ACT_*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Runs programs, and XDP_PASS, XDP_DROP and XDP_TX work: NETDEV_XDP_ACT_BASIC.
    pub fn runs(self) -> bool {
        self.0 & 1 != 0
    }

    /// XDP_REDIRECT works: NETDEV_XDP_ACT_REDIRECT.
    pub fn redirects(self) -> bool {
        self.0 & 2 != 0
    }

    /// Sends what others redirect to it: NETDEV_XDP_ACT_NDO_XMIT. Of a veth this is true while its peer takes such packets.
    pub fn sends(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Asks the kernel.
pub struct Netdev {
    socket: Socket,
    family: u16,
    sequence: u32,
}

impl Netdev {
    /// `None`: the kernel does not tell, it is older than Linux 6.3.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn open() -> io::Result<Option<Self>> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
        let mut this = Self { socket, family: CONTROL, sequence: 0 };
        let name = Attributes::default().text(FAMILY_NAME, "netdev");
        let answer = match this.ask(GET_FAMILY, &name) {
            Err(e) if is(&e, Errno::NOENT) => return Ok(None),
            answer => answer?,
        };
        let id = attribute::find(&answer, FAMILY_ID).and_then(|id| id.try_into().ok());
        let Some(id) = id else { return Ok(None) };
        this.family = u16::from_ne_bytes(id);
        Ok(Some(this))
    }

    /// What an interface can do; `None`: there is none of this number.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn xdp_features(&mut self, interface: u32) -> io::Result<Option<XdpFeatures>> {
        let which = Attributes::default().bytes(INTERFACE, &interface.to_ne_bytes());
        let answer = match self.ask(GET_DEVICE, &which) {
            Err(e) if is(&e, Errno::NODEV) => return Ok(None),
            answer => answer?,
        };
        let features = attribute::find(&answer, XDP_FEATURES).and_then(|features| features.try_into().ok());
        Ok(Some(XdpFeatures(features.map_or(0, u64::from_ne_bytes))))
    }

    /// The attributes of the one answer.
    fn ask(&mut self, command: u8, attributes: &Attributes) -> io::Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        let body = attributes.as_bytes();
        let mut message = Vec::new();
        message.extend(((HEADER + GENERIC + body.len()) as u32).to_ne_bytes());
        message.extend(self.family.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend([command, 1, 0, 0]);
        message.extend(body);
        self.socket.send(&message, 0)?;
        // An answer to an earlier question that came too late may be in the way.
        for _ in 0..8 {
            let mut buffer = Vec::with_capacity(BUFFER);
            self.socket.recv(&mut buffer, 0).map_err(as_timeout)?;
            if let Some(answer) = answer(&buffer, self.sequence) {
                return answer;
            }
        }
        Err(no_answer())
    }
}

/// `None`: it answers another question.
fn answer(message: &[u8], sequence: u32) -> Option<io::Result<Vec<u8>>> {
    let word = |at: usize| message.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    if word(8)? != sequence {
        return None;
    }
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    if kind == ERROR {
        let code = i32::from_ne_bytes(*message.get(HEADER..)?.first_chunk()?);
        return Some(Err(io::Error::from_raw_os_error(code.saturating_abs())));
    }
    Some(Ok(message.get(HEADER + GENERIC..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn an_answer_is_told_from_errors_and_from_those_to_other_questions() {
        let good = message(30, 7, &[1, 1, 0, 0, 8, 0, 3, 0, 1, 2, 3, 4]);
        assert_eq!(answer(&good, 7).unwrap().unwrap(), [8, 0, 3, 0, 1, 2, 3, 4]);
        assert!(answer(&good, 8).is_none());
        let refused = message(ERROR, 7, &(-19_i32).to_ne_bytes());
        let error = answer(&refused, 7).unwrap().unwrap_err();
        assert!(is(&error, Errno::NODEV), "{error}");
        for end in 0..HEADER {
            assert!(answer(&good[..end], 7).is_none(), "{end} bytes");
        }
    }
}
