//! The way on, as the kernel's routing tables and neighbours say.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_fib_lookup};

use super::{
    Turn,
    frame::{Family, Headers, PROTOCOL},
};

/// BPF_FIB_LKUP_RET_SUCCESS, include/uapi/linux/bpf.h. Anything else is the stack's: a packet that is too long for the way, a
/// neighbour that is not known yet, an address of the node's own, forwarding that is switched off.
const SUCCESS: i64 = 0;

/// struct bpf_fib_lookup, include/uapi/linux/bpf.h.
#[repr(C)]
struct Lookup {
    family: u8,
    protocol: u8,
    sport: u16,
    dport: u16,
    /// The length of the packet; what comes back is the MTU of the way.
    length: u16,
    ifindex: u32,
    class: u32,
    src: [u32; 4],
    dst: [u32; 4],
    vlan: u32,
    sender: [u16; 3],
    target: [u16; 3],
}

/// The next hop.
pub struct Hop {
    pub ifindex: u32,
    pub sender: [u16; 3],
    pub target: [u16; 3],
}

/// Where the packet would be routed, as it is between the programs on TC: there the client shows its own address.
#[inline(always)]
pub fn next_hop<F: Family>(ctx: *mut xdp_md, headers: &Headers, turn: &Turn) -> Option<Hop> {
    let words = |address: lb_common::Address| match F::HEADER {
        20 => [address.v4_word(), 0, 0, 0],
        _ => address.v6_words(),
    };
    let src = &headers.src;
    let mut lookup = Lookup {
        family: F::ADDRESS_FAMILY,
        protocol: PROTOCOL as u8,
        sport: if turn.to_backend { turn.src.port_word() as u16 } else { src.port_word() as u16 },
        dport: if turn.to_backend { turn.dst.port_word() as u16 } else { headers.dst.port_word() as u16 },
        length: headers.length,
        ifindex: turn.comes_by,
        class: headers.class,
        src: words(src.address()),
        dst: words(turn.dst.address()),
        vlan: 0,
        sender: [0; 3],
        target: [0; 3],
    };
    // SAFETY: the kernel checks the size.
    let found =
        unsafe { bpf_fib_lookup(ctx.cast(), (&raw mut lookup).cast(), size_of::<Lookup>() as i32, 0) };
    (found == SUCCESS).then_some(Hop {
        ifindex: lookup.ifindex,
        sender: lookup.sender,
        target: lookup.target,
    })
}
