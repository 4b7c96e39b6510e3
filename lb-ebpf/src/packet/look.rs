//! Reading a packet, once for the short way and the long one.

use crate::{
    maps::PACKET,
    nat::{Link, Packet, Parsed, Skb, parse, parse_near_v4, parse_near_v6},
    verdict::NEXT,
};

/// A short way.
pub trait Short {
    /// The verdict over a segment whose headers can be read where they lie. `None`: it has to go the long way. What needs much of
    /// it for long may store it in `place`, which nobody else uses meanwhile.
    fn decide(&self, packet: &Packet, place: *mut Packet) -> Option<i32>;
}

/// What is about TCP, and has to go the long way. `Err`: the verdict.
#[inline(always)]
pub fn look<'a>(skb: Skb, link: Link, short: &impl Short) -> Result<&'a Packet, i32> {
    let place = PACKET.get_ptr_mut(0).ok_or(NEXT)?;
    // Each is stored for itself: put together first, they would be what the verifier does not know to have been written.
    // SAFETY: a pointer that the lookup returned; nobody else uses it while this program runs.
    unsafe {
        if let Some(packet) = parse_near_v4(skb, link) {
            match short.decide(&packet, place) {
                Some(verdict) => return Err(verdict),
                None => packet.store(place),
            }
        } else if let Some(packet) = parse_near_v6(skb, link) {
            match short.decide(&packet, place) {
                Some(verdict) => return Err(verdict),
                None => packet.store(place),
            }
        } else {
            match parse(skb, link) {
                Parsed::Packet(packet) => packet.store(place),
                Parsed::Foreign => return Err(NEXT),
            }
        }
        Ok(&*place)
    }
}
