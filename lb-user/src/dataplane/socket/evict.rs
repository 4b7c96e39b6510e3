//! Which sockets hang on a backend: the programs have written it into them.

use lb_common::socket::Track;
use lb_core::control::Pair;

use crate::dataplane::services::encode;
use crate::os::sockdiag::TcpSocket;

/// The pair that a socket's connection belongs to. Sockets are reused: what the programs remember only counts while the
/// socket still talks to that backend.
pub fn pair_of(socket: &TcpSocket) -> Option<Pair> {
    let stored = socket.stored.as_deref()?;
    let vip = encode::endpoint_at(stored, std::mem::offset_of!(Track, vip))?;
    let backend = encode::endpoint_at(stored, std::mem::offset_of!(Track, backend))?;
    (backend == socket.peer).then_some((vip, backend))
}
