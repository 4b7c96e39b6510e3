use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_get_buff_len};
use lb_common::{Address, Endpoint};

use super::frame::{ETHERNET, Family, Frame, Headers, PROTOCOL, exchanged, sum};

/// IPv4, without options and in one piece.
pub struct V4;

/// Offsets in the header, RFC 791, from the frame's beginning.
const CLASS: usize = ETHERNET;
const LENGTH: usize = ETHERNET + 2;
const FRAGMENT: usize = ETHERNET + 6;
const HOPS: usize = ETHERNET + 8;
const CHECKSUM: usize = ETHERNET + 10;
const SRC: usize = ETHERNET + 12;
const DST: usize = ETHERNET + 16;
const TCP: usize = ETHERNET + 20;

impl Family for V4 {
    const ETHER_TYPE: u16 = 0x0800_u16.to_be();
    const V6: bool = false;
    const HEADER: usize = 20;

    #[inline(always)]
    fn read(ctx: *mut xdp_md, frame: Frame) -> Option<Headers> {
        let class = u16::from_be(frame.load(CLASS));
        // Version and length of the header; neither an offset nor more fragments.
        if class >> 8 != 0x45 || u16::from_be(frame.load(FRAGMENT)) & 0x3fff != 0 {
            return None;
        }
        let hops = u16::from_be(frame.load(HOPS));
        let length = u16::from_be(frame.load(LENGTH));
        // SAFETY: the context is valid.
        let there = unsafe { bpf_xdp_get_buff_len(ctx) } as u32;
        if hops & 0xff != PROTOCOL || hops >> 8 <= 1 || length < 40 || length as u32 + ETHERNET as u32 > there
        {
            return None;
        }
        let (src, dst) = (frame.load_word(SRC), frame.load_word(DST));
        let (segment, has_data) = frame.segment(TCP, length as u32 - 20, sum(&[src, dst], 0))?;
        Some(Headers {
            src: Endpoint::new(Address::from_v4_word(src), frame.load(TCP) as u32),
            dst: Endpoint::new(Address::from_v4_word(dst), frame.load(TCP + 2) as u32),
            segment,
            has_data,
            length,
            class: class as u32 & 0xff,
        })
    }

    #[inline(always)]
    fn write(frame: Frame, headers: &Headers, src: &Endpoint, dst: &Endpoint) {
        let (old, new) = ([&headers.src, &headers.dst], [src, dst]);
        let addresses = |of: [&Endpoint; 2]| sum(&[of[0].address().v4_word(), of[1].address().v4_word()], 0);
        let ports = |of: [&Endpoint; 2]| (of[0].port_word() + of[1].port_word()) as u64;
        let hops = frame.load(HOPS);
        let fewer = (u16::from_be(hops) - 0x100).to_be();
        let (before, after) = (addresses(old), addresses(new));
        let ip = exchanged(frame.load(CHECKSUM), before + hops as u64, after + fewer as u64);
        let tcp = exchanged(frame.load(TCP + 16), before + ports(old), after + ports(new));
        frame.store(HOPS, fewer);
        frame.store(CHECKSUM, ip);
        frame.store_word(SRC, src.address().v4_word());
        frame.store_word(DST, dst.address().v4_word());
        frame.store(TCP, src.port_word() as u16);
        frame.store(TCP + 2, dst.port_word() as u16);
        frame.store(TCP + 16, tcp);
    }
}
