//! Ending the sockets that hang on a dead backend, so that their owners reconnect at once.

use std::{io, net::SocketAddr};

use lb_common::{Endpoint, socket::Track};
use lb_core::model::Scope;

use super::encode;
use crate::{
    dataplane::{DataplaneError, Evicted},
    os::{
        netns,
        sockdiag::{Ended, SockDiag, TrackedSocket},
    },
};

/// Ends every socket that was connected through one of the VIPs to the backend beside it, in the agent's network
/// namespace or in all of them.
pub fn evict(
    tracks: i32,
    scope: Scope,
    pairs: &[(SocketAddr, SocketAddr)],
) -> Result<Evicted, DataplaneError> {
    let failed = DataplaneError::failed("end sockets in", "this network namespace");
    match scope {
        Scope::Host => sweep(tracks, pairs).map_err(failed),
        Scope::Node => Ok(sweep_all(tracks, pairs)),
    }
}

/// A namespace that cannot be entered, or that goes away meanwhile, keeps none of the others back.
fn sweep_all(tracks: i32, pairs: &[(SocketAddr, SocketAddr)]) -> Evicted {
    let mut sum = Evicted::default();
    for namespace in netns::all() {
        match netns::within(&namespace, || sweep(tracks, pairs)).and_then(|swept| swept) {
            Ok(evicted) => {
                sum.ended += evicted.ended;
                sum.failed += evicted.failed;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to end sockets in a pod's network namespace");
                sum.failed += 1;
            }
        }
    }
    sum
}

fn sweep(tracks: i32, pairs: &[(SocketAddr, SocketAddr)]) -> io::Result<Evicted> {
    let diag = SockDiag::open()?;
    let mut evicted = Evicted::default();
    for socket in diag.tracked(tracks)?.iter().filter(|socket| hangs_on(socket, pairs)) {
        match diag.destroy(socket) {
            Ok(Ended::Now) => evicted.ended += 1,
            Ok(Ended::Gone) => {}
            Err(error) => {
                tracing::debug!(peer = %socket.peer, %error, "failed to end a socket");
                evicted.failed += 1;
            }
        }
    }
    Ok(evicted)
}

/// Sockets are reused: what the programs remember only counts while the socket still talks to that backend.
fn hangs_on(socket: &TrackedSocket, pairs: &[(SocketAddr, SocketAddr)]) -> bool {
    const WORDS: usize = size_of::<Endpoint>();
    const { assert!(size_of::<Track>() >= 2 * WORDS) };
    let (Some(vip), Some(backend)) = (
        endpoint_at(&socket.value, std::mem::offset_of!(Track, vip)),
        endpoint_at(&socket.value, std::mem::offset_of!(Track, backend)),
    ) else {
        return false;
    };
    backend == socket.peer && pairs.contains(&(vip, backend))
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
