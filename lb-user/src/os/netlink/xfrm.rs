//! NETLINK_XFRM, include/uapi/linux/xfrm.h: IPsec.

use std::{io, time::Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_XFRM};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

use super::{BUFFER, DEADLINE, as_timeout, is, no_answer};

/// XFRM_MSG_GETPOLICY, which is answered by XFRM_MSG_NEWPOLICY for each.
const GET_POLICY: u16 = 0x15;
const NEW_POLICY: u16 = 0x13;
/// Bytes of struct nlmsghdr, which is all that is asked.
const HEADER: u32 = 16;

/// Whether this network namespace has a policy. A kernel without IPsec has none.
///
/// # Errors
/// When the kernel refuses or is silent.
pub(super) fn has_policies() -> io::Result<bool> {
    let mut socket = match Socket::new(NETLINK_XFRM) {
        Err(e) if is(&e, Errno::PROTONOSUPPORT) => return Ok(false),
        socket => socket?,
    };
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE))?;
    socket.send(&question(), 0)?;
    let started = Instant::now();
    let mut buffer = Vec::with_capacity(BUFFER);
    while started.elapsed() < DEADLINE {
        buffer.clear();
        socket.recv(&mut buffer, 0).map_err(as_timeout)?;
        let message = NetlinkBuffer::new_checked(buffer.as_slice()).map_err(io::Error::other)?;
        match message.message_type() {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = message.payload().first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(code.saturating_abs()));
            }
            // The first of them; the rest of the dump ends with the socket.
            NEW_POLICY => return Ok(true),
            _ => {}
        }
    }
    Err(no_answer())
}

fn question() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&HEADER.to_ne_bytes());
    bytes.extend_from_slice(&GET_POLICY.to_ne_bytes());
    bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes
}
