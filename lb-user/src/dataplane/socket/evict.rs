//! Which sockets hang on a backend: the programs have written it into them.

use std::net::SocketAddr;

use lb_common::{Endpoint, socket::Track};
use lb_core::control::Pair;

use super::encode;
use crate::os::sockdiag::TcpSocket;

/// The pair that a socket's connection belongs to. Sockets are reused: what the programs remember only counts while the
/// socket still talks to that backend.
pub fn pair_of(socket: &TcpSocket) -> Option<Pair> {
    const WORDS: usize = size_of::<Endpoint>();
    const { assert!(size_of::<Track>() >= 2 * WORDS) };
    let stored = socket.stored.as_deref()?;
    let vip = endpoint_at(stored, std::mem::offset_of!(Track, vip))?;
    let backend = endpoint_at(stored, std::mem::offset_of!(Track, backend))?;
    (backend == socket.peer).then_some((vip, backend))
}

fn endpoint_at(value: &[u8], offset: usize) -> Option<SocketAddr> {
    let bytes = value.get(offset..offset + size_of::<Endpoint>())?;
    let octets = bytes[..16].try_into().ok()?;
    let port = u64::from_ne_bytes(bytes[16..24].try_into().ok()?) as u16;
    Some(encode::socket_addr(&Endpoint::from_host(octets, u16::from_be(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_from_a_sockets_value() {
        let address: SocketAddr = "192.168.0.2:6443".parse().unwrap();
        let endpoint = encode::endpoint(address);
        let mut value = vec![0; 24];
        value.extend_from_slice(&endpoint.address().octets());
        value.extend_from_slice(&u64::from(endpoint.port_word()).to_ne_bytes());
        assert_eq!(endpoint_at(&value, 24), Some(address));
        assert_eq!(endpoint_at(&value, 30), None);
    }
}
