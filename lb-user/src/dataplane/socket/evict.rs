//! Which sockets hang on a backend: the programs have written it into them.

use std::net::SocketAddr;

use lb_common::socket::Track;
use lb_core::control::Pair;

use crate::dataplane::services::encode;
use crate::os::sockdiag::TcpSocket;

/// The pair that a socket's connection belongs to. Sockets are reused: what the programs remember only counts while the
/// socket still talks to that backend.
///
/// A connection that was sent to another backend hangs on that one: its record has that one's place.
pub fn pair_of(socket: &TcpSocket, record: impl Fn(u32) -> Option<SocketAddr>) -> Option<Pair> {
    let stored = socket.stored.as_deref()?;
    let vip = encode::endpoint_at(stored, std::mem::offset_of!(Track, vip))?;
    let backend = encode::endpoint_at(stored, std::mem::offset_of!(Track, backend))?;
    if backend != socket.peer {
        return None;
    }
    let index = stored.get(std::mem::offset_of!(Track, index)..)?.first_chunk()?;
    Some((vip, record(u32::from_ne_bytes(*index)).unwrap_or(backend)))
}
