use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_get_buff_len};
use lb_common::{Address, Endpoint};

use super::frame::{ETHERNET, Family, Frame, Headers, PROTOCOL, exchanged, sum};

/// IPv6, without extension headers.
pub struct V6;

/// Offsets in the header, RFC 8200, from the frame's beginning.
const CLASS: usize = ETHERNET;
const LENGTH: usize = ETHERNET + 4;
const HOPS: usize = ETHERNET + 6;
const SRC: usize = ETHERNET + 8;
const DST: usize = ETHERNET + 24;
const TCP: usize = ETHERNET + 40;

/// Without the version: IPV6_FLOWINFO_MASK, include/net/ipv6.h.
const FLOW: u32 = 0x0fff_ffff_u32.to_be();

impl Family for V6 {
    const ETHER_TYPE: u16 = 0x86dd_u16.to_be();
    const V6: bool = true;
    const HEADER: usize = 40;

    #[inline(always)]
    fn read(ctx: *mut xdp_md, frame: Frame) -> Option<Headers> {
        let hops = u16::from_be(frame.load(HOPS));
        let length = u16::from_be(frame.load(LENGTH));
        // SAFETY: the context is valid.
        let there = unsafe { bpf_xdp_get_buff_len(ctx) } as u32;
        // Longer than 65,495 bytes is no packet that any interface carries; the sum with the header would not fit.
        if u16::from_be(frame.load(CLASS)) >> 12 != 6
            || hops >> 8 != PROTOCOL
            || hops & 0xff <= 1
            || length < 20
            || length > u16::MAX - 40
            || length as u32 + (ETHERNET + 40) as u32 > there
        {
            return None;
        }
        let (src, dst) = (address(frame, SRC), address(frame, DST));
        // On a wire nobody means IPv4 by it, but the tables would.
        if src.is_v4() || dst.is_v4() {
            return None;
        }
        let covered = sum(&src.v6_words(), 0) + sum(&dst.v6_words(), 0);
        let (segment, has_data) = frame.segment(TCP, length as u32, covered)?;
        Some(Headers {
            src: Endpoint::new(src, frame.load(TCP) as u32),
            dst: Endpoint::new(dst, frame.load(TCP + 2) as u32),
            segment,
            has_data,
            length: length + 40,
            class: frame.load_word(CLASS) & FLOW,
        })
    }

    #[inline(always)]
    fn write(frame: Frame, headers: &Headers, src: &Endpoint, dst: &Endpoint) {
        let of = |end: &Endpoint| sum(&end.address().v6_words(), end.port_word());
        let (old, new) = (of(&headers.src) + of(&headers.dst), of(src) + of(dst));
        let tcp = exchanged(frame.load(TCP + 16), old, new);
        frame.store(HOPS, (u16::from_be(frame.load(HOPS)) - 1).to_be());
        store(frame, SRC, src.address());
        store(frame, DST, dst.address());
        frame.store(TCP, src.port_word() as u16);
        frame.store(TCP + 2, dst.port_word() as u16);
        frame.store(TCP + 16, tcp);
    }
}

#[inline(always)]
fn address(frame: Frame, at: usize) -> Address {
    let word = |number: usize| frame.load_word(at + 4 * number);
    Address::from_v6_words([word(0), word(1), word(2), word(3)])
}

#[inline(always)]
fn store(frame: Frame, at: usize, address: Address) {
    let [a, b, c, d] = address.v6_words();
    frame.store_word(at, a);
    frame.store_word(at + 4, b);
    frame.store_word(at + 8, c);
    frame.store_word(at + 12, d);
}
