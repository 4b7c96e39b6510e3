//! What the kernel programs tell of the node's own traffic.

use std::{io, mem::offset_of};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use lb_common::socket::{SIGNAL_REFUSED, SIGNAL_RETRANSMITTED, Signal as Bytes};
use lb_core::control::{Pair, Signal};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use crate::dataplane::{DataplaneError, services::encode};

/// The ring buffer that the programs of one load write to.
pub struct Signals(RingBuf<MapData>);

impl Signals {
    /// Takes the ring buffer out of a load.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        let missing = DataplaneError::failed("open", "map SIGNALS");
        let map = ebpf.take_map("SIGNALS").ok_or_else(|| missing("not in the object"))?;
        let ring = RingBuf::try_from(map).map_err(DataplaneError::failed("open", "map SIGNALS"))?;
        Ok(Self(ring))
    }

    /// Brings each signal to `events`, until nobody takes them any more.
    ///
    /// # Errors
    /// When the ring buffer cannot be waited for.
    #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
    pub async fn forward(self, events: mpsc::Sender<(Pair, Signal)>) -> io::Result<()> {
        // SAFETY: the ring's descriptor is open and the same for as long as it lives, and it lives in the AsyncFd.
        let mut ring = unsafe { AsyncFd::register(self.0) }.map_err(io::Error::from)?;
        loop {
            let mut ready = ring.readable_mut().await?;
            while let Some(bytes) = ready.get_inner_mut().next() {
                let Some(signal) = parse(&bytes) else { continue };
                drop(bytes);
                match events.try_send(signal) {
                    // A loop that is busy has enough to go by.
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                    Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
                }
            }
            ready.clear_ready();
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Pair, Signal)> {
    let kind = bytes.get(offset_of!(Bytes, kind)..)?.first_chunk()?;
    let signal = match u64::from_ne_bytes(*kind) {
        SIGNAL_REFUSED => Signal::Refused,
        SIGNAL_RETRANSMITTED => Signal::Retransmitted,
        _ => return None,
    };
    let vip = encode::endpoint_at(bytes, offset_of!(Bytes, vip))?;
    let backend = encode::endpoint_at(bytes, offset_of!(Bytes, backend))?;
    Some(((vip, backend), signal))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn bytes(vip: SocketAddr, backend: SocketAddr, kind: u64) -> Vec<u8> {
        let words = |address| {
            let endpoint = encode::endpoint(address);
            [&endpoint.address().octets()[..], &u64::from(endpoint.port_word()).to_ne_bytes()].concat()
        };
        [words(vip), words(backend), kind.to_ne_bytes().to_vec()].concat()
    }

    #[test]
    fn a_signal_is_read_and_an_unknown_one_is_not() {
        let pair: Pair = ("10.103.97.2:6443".parse().unwrap(), "[fd00::2]:6443".parse().unwrap());
        let parsed = |kind| parse(&bytes(pair.0, pair.1, kind));
        assert_eq!(parsed(SIGNAL_REFUSED), Some((pair, Signal::Refused)));
        assert_eq!(parsed(SIGNAL_RETRANSMITTED), Some((pair, Signal::Retransmitted)));
        assert_eq!(parsed(99), None);
        assert_eq!(parse(&bytes(pair.0, pair.1, 1)[..40]), None);
    }
}
