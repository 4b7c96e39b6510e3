//! Reading and writing headers at fixed places, by direct access: they are checked once to be there. Sixteen bits at a time,
//! to which network headers behind fourteen bytes of Ethernet are aligned.

use aya_ebpf::bindings::xdp_md;
use lb_common::Endpoint;

use crate::nat::{ACK, FIN, RST, SYN, Segment};

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of a TCP header without options.
const TCP: usize = 20;

/// IPPROTO_TCP, include/uapi/linux/in.h.
pub const PROTOCOL: u16 = 6;

/// What differs between IPv4 and IPv6.
pub trait Family {
    /// The EtherType as it lies in memory.
    const ETHER_TYPE: u16;
    /// Whether it is IPv6.
    const V6: bool;
    /// Bytes of the network header.
    const HEADER: usize;
    /// Bytes of all headers without options.
    const LENGTH: usize = ETHERNET + Self::HEADER + TCP;

    /// Reads the headers; `None`: not a whole segment of the plainest kind.
    fn read(ctx: *mut xdp_md, frame: Frame) -> Option<Headers>;
    /// Makes it go between other ends, one hop on, with all checksums.
    fn write(frame: Frame, headers: &Headers, src: &Endpoint, dst: &Endpoint);
}

/// What the headers say.
pub struct Headers {
    pub src: Endpoint,
    pub dst: Endpoint,
    pub segment: Segment,
    pub has_data: bool,
    /// Bytes from the network header on.
    pub length: u16,
    /// The type of service, or class and label of the flow, as struct bpf_fib_lookup has them.
    pub class: u32,
}

/// The beginning of a packet.
#[derive(Clone, Copy)]
pub struct Frame(*mut u8);

impl Frame {
    /// With an Ethernet header.
    #[inline(always)]
    pub fn of(ctx: *mut xdp_md) -> Option<Self> {
        Self::of_length(ctx, ETHERNET)
    }

    /// With so many bytes.
    #[inline(always)]
    pub fn of_length(ctx: *mut xdp_md, length: usize) -> Option<Self> {
        // SAFETY: the verifier vouches for the context and its fields.
        let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        (data + length <= end).then_some(Self(data as *mut u8))
    }

    /// Two bytes as they lie in memory.
    #[inline(always)]
    pub fn load(self, offset: usize) -> u16 {
        // SAFETY: within the length that was checked, by which the verifier abides; aligned.
        unsafe { self.0.add(offset).cast::<u16>().read() }
    }

    /// As [`Self::load`].
    #[inline(always)]
    pub fn store(self, offset: usize, value: u16) {
        // SAFETY: as above.
        unsafe { self.0.add(offset).cast::<u16>().write(value) }
    }

    /// Four bytes as they lie in memory.
    #[inline(always)]
    pub fn load_word(self, offset: usize) -> u32 {
        join(self.load(offset), self.load(offset + 2))
    }

    /// As [`Self::load_word`].
    #[inline(always)]
    pub fn store_word(self, offset: usize, value: u32) {
        let [a, b, c, d] = value.to_ne_bytes();
        self.store(offset, u16::from_ne_bytes([a, b]));
        self.store(offset + 2, u16::from_ne_bytes([c, d]));
    }

    #[inline(always)]
    pub fn ether_type(self) -> u16 {
        self.load(12)
    }

    /// Whom it is for, as `lb_common::packet::Wire::mac` has it.
    #[inline(always)]
    pub fn target(self) -> u64 {
        let (low, high) = (self.load_word(0) as u64, self.load(4) as u64);
        if cfg!(target_endian = "little") { low | high << 32 } else { low << 32 | high << 16 }
    }

    /// Writes whom it is for, and whom it is from.
    #[inline(always)]
    pub fn address(self, [first, second, third]: [u32; 3]) {
        self.store_word(0, first);
        self.store_word(4, second);
        self.store_word(8, third);
    }

    /// What a TCP header says, if the segment neither begins nor ends anything and its checksum is complete. `covered`: the sum
    /// of the addresses.
    #[inline(always)]
    pub fn segment(self, at: usize, length: u32, covered: u64) -> Option<(Segment, bool)> {
        let third = u16::from_be(self.load(at + 12)) as u32;
        let (header, flags) = ((third >> 12) * 4, third & 0x3f);
        if header < TCP as u32 || header > length || flags & (SYN | FIN | RST | ACK) != ACK {
            return None;
        }
        // CHECKSUM_PARTIAL: a sender on this machine left it to the network card, which there is none of on this way, and put the
        // sum of the pseudo header there. One in 65,535 whole ones looks the same, and goes the long way.
        let pseudo = fold(covered + PROTOCOL.to_be() as u64 + (length as u16).to_be() as u64);
        let checksum = self.load(at + 16);
        if checksum == pseudo || (checksum == 0 && pseudo == 0xffff) {
            return None;
        }
        let sequence = u32::from_be(self.load_word(at + 4));
        let payload = length - header;
        let end = sequence.wrapping_add(payload);
        Some((Segment { end, flags, is_fragment: false, is_malformed: false }, payload > 0))
    }
}

/// Two halves as they lie in memory, one after the other.
#[inline(always)]
const fn join(first: u16, second: u16) -> u32 {
    if cfg!(target_endian = "little") {
        first as u32 | (second as u32) << 16
    } else {
        (first as u32) << 16 | second as u32
    }
}

/// The sum of an endpoint's port and, of its address, these words; to be folded.
#[inline(always)]
pub fn sum(words: &[u32], port: u32) -> u64 {
    let mut sum = port as u64;
    for word in words {
        sum += *word as u64;
    }
    sum
}

/// A sum in ones' complement, RFC 1071, in sixteen bits. Never 0 but for 0.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A checksum after the exchange of what sums up to `old` for what sums up to `new`: RFC 1624, equation 3.
#[inline(always)]
pub fn exchanged(checksum: u16, old: u64, new: u64) -> u16 {
    !fold(!checksum as u64 + !fold(old) as u64 + new)
}
