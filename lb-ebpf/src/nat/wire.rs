use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_store_bytes},
};

/// A packet in the kernel's hands.
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

/// A number of no meaning, which no class has: they are numbered from 0 on.
const DONE: u32 = 0xb1c7;

/// What comes before the network header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// Nothing, as in a tunnel.
    None,
}

impl Link {
    /// Where the network header begins, without tags.
    #[inline(always)]
    pub const fn header(self) -> u32 {
        match self {
            Self::Ethernet => 14,
            Self::None => 0,
        }
    }
}

/// Headers that are read where they lie.
#[derive(Clone, Copy)]
pub struct Headers(usize);

impl Headers {
    /// A word of them as it lies in memory. It need not be aligned: the machines that run this do not mind, but the language
    /// does.
    #[inline(always)]
    pub fn word<const OFFSET: i16>(self) -> u32 {
        let word: u64;
        // SAFETY: the verifier vouches for the length that was asked for.
        unsafe {
            asm!(
                "{word} = *(u32 *)({at} + {offset})",
                word = out(reg) word,
                at = in(reg) self.0,
                offset = const OFFSET,
                options(nostack, preserves_flags, readonly),
            );
        }
        word as u32
    }
}

impl Skb {
    /// Bytes at an offset; `None`: the packet is shorter. `Default` stands for "any bit pattern is valid"; it is not called,
    /// since zeroing is a loop, whose end the verifier does not see without CAP_PERFMON.
    #[inline(always)]
    pub fn load<T: Copy + Default>(self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the kernel checks the offset; the value has the length that is told, and the helper fills it.
        unsafe {
            let read =
                bpf_skb_load_bytes(self.0.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32);
            (read == 0).then_some(value.assume_init())
        }
    }

    /// Headers at an offset. `None`: the packet is shorter, or not all of them are in its first buffer.
    #[inline(always)]
    pub fn peek(self, offset: u32, length: u32) -> Option<Headers> {
        // SAFETY: the verifier vouches for the context and its fields.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        let at = data + offset as usize;
        (at + length as usize <= end).then_some(Headers(at))
    }

    /// Writes bytes at an offset. Fails only where there are none, which a load before has shown.
    #[inline(always)]
    pub fn store<T: Copy>(self, offset: u32, value: &T, flags: u64) {
        // SAFETY: as above.
        let _ = unsafe {
            bpf_skb_store_bytes(
                self.0,
                offset,
                core::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
                flags,
            )
        };
    }

    /// The interface that the packet comes in by or leaves by.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: the verifier vouches for the context and its fields.
        unsafe { (*self.0).ifindex }
    }

    /// Whether it came in by an interface, rather than from a socket of this network namespace.
    #[inline(always)]
    pub fn is_forwarded(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).ingress_ifindex != 0 }
    }

    /// Whether the frame is for another machine, and only seen here.
    #[inline(always)]
    pub fn is_others(self) -> bool {
        /// PACKET_OTHERHOST, include/uapi/linux/if_packet.h.
        const OTHERHOST: u32 = 3;
        // SAFETY: as above.
        unsafe { (*self.0).pkt_type == OTHERHOST }
    }

    /// Whether it belongs to a VLAN, by a tag that the kernel keeps beside it: this is the interface that carries the VLAN, and
    /// the packet comes by that of the VLAN next, without the tag. Number 0 is a priority and no VLAN.
    #[inline(always)]
    pub fn is_tagged(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).vlan_tci & 0xfff != 0 }
    }

    /// Whether it stands for several segments.
    #[inline(always)]
    pub fn is_segmented(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).gso_segs > 1 }
    }

    /// Whether somebody has marked it, for a rule to go by.
    #[inline(always)]
    pub fn is_marked(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).mark != 0 }
    }

    /// Whether the kernel keeps a tag beside it, be it for a priority alone.
    #[inline(always)]
    pub fn has_tag(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).vlan_present != 0 }
    }

    /// How many bytes of data each of the segments has that it stands for; `None`: it stands for itself.
    #[inline(always)]
    pub fn segment_size(self) -> Option<u32> {
        // SAFETY: as above.
        let size = unsafe { (*self.0).gso_size };
        (size != 0).then_some(size)
    }

    /// Marks a packet that is about to be redirected: on its way out nothing is left to be done. The field was for the
    /// classes of queueing disciplines that read TOS; it stays with the packet until the network card has it.
    #[inline(always)]
    pub fn set_done(self) {
        // SAFETY: as above.
        unsafe { (*self.0).tc_index = DONE };
    }

    /// Whether it has this mark, which it loses.
    #[inline(always)]
    pub fn take_done(self) -> bool {
        // SAFETY: as above.
        unsafe {
            let is_done = (*self.0).tc_index == DONE;
            if is_done {
                (*self.0).tc_index = 0;
            }
            is_done
        }
    }

    /// The protocol of the network header, in network order, unless a tag comes before it.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        // SAFETY: as above.
        unsafe { (*self.0).protocol as u16 }
    }

    /// Its length from the link header on.
    #[inline(always)]
    pub fn len(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).len }
    }
}
