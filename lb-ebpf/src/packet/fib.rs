//! The way on, as the kernel's routing tables and neighbours say.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh};
use lb_common::Address;

/// BPF_FIB_LKUP_RET_SUCCESS, include/uapi/linux/bpf.h. Anything else is the stack's: a packet that is too long for the way, a
/// neighbour that is not known yet, an address of the node's own, forwarding that is switched off.
const SUCCESS: i64 = 0;

/// AF_INET and AF_INET6, include/linux/socket.h.
const V4: u8 = 2;
const V6: u8 = 10;
/// IPPROTO_TCP, include/uapi/linux/in.h.
const TCP: u8 = 6;

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
    /// The sender's link-layer address, and the one that it is for.
    macs: [u32; 3],
}

/// A packet between the programs on TC, as the stack would see it.
pub struct Travelling {
    pub v6: bool,
    pub src: Address,
    pub dst: Address,
    /// In network order.
    pub sport: u16,
    pub dport: u16,
    /// Bytes from the network header on.
    pub length: u16,
    /// The type of service, or class and label of the flow, as struct bpf_fib_lookup has them.
    pub class: u32,
    /// The interface that it came in by.
    pub ifindex: u32,
}

/// The next hop.
pub struct Hop {
    pub ifindex: u32,
    /// As an Ethernet header begins: whom it is for, and whom it is from.
    pub macs: [u32; 3],
}

/// Where the packet would be routed. `ctx` is the program's.
#[inline(always)]
pub fn next_hop(ctx: *mut c_void, packet: &Travelling) -> Option<Hop> {
    let words = |address: Address| match packet.v6 {
        false => [address.v4_word(), 0, 0, 0],
        true => address.v6_words(),
    };
    let mut lookup = MaybeUninit::<Lookup>::uninit();
    let at = lookup.as_mut_ptr();
    // SAFETY: the place is ours, and every field of it is written; the kernel checks the size, and reads and writes no more.
    // What is zero is written as such, volatile: the compiler would have `memset` do it, whose loop the verifier does not take
    // without CAP_PERFMON.
    unsafe {
        (*at).family = if packet.v6 { V6 } else { V4 };
        (*at).protocol = TCP;
        (*at).sport = packet.sport;
        (*at).dport = packet.dport;
        (*at).length = packet.length;
        (*at).ifindex = packet.ifindex;
        (*at).class = packet.class;
        (*at).src = words(packet.src);
        (*at).dst = words(packet.dst);
        (&raw mut (*at).vlan).write_volatile(0);
        (&raw mut (*at).macs[0]).write_volatile(0);
        (&raw mut (*at).macs[1]).write_volatile(0);
        (&raw mut (*at).macs[2]).write_volatile(0);
        let found = bpf_fib_lookup(ctx, at.cast(), size_of::<Lookup>() as i32, 0);
        (found == SUCCESS).then_some(Hop { ifindex: (*at).ifindex, macs: swapped((*at).macs) })
    }
}

/// struct bpf_redir_neigh, include/uapi/linux/bpf.h.
#[repr(C)]
struct Neighbour {
    family: u32,
    address: [u32; 4],
}

/// Has the packet leave by an interface, to the next hop that the routing tables name.
#[inline(always)]
pub fn leave(ifindex: u32) -> i32 {
    // SAFETY: takes integers, and a null pointer where the kernel is to look up the next hop itself.
    (unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) }) as i32
}

/// The same to a neighbour: nothing is looked up but its link-layer address.
#[inline(always)]
pub fn leave_to(ifindex: u32, neighbour: Address, v6: bool) -> i32 {
    let address = neighbour.v6_words();
    let mut next_hop = MaybeUninit::<Neighbour>::uninit();
    let at = next_hop.as_mut_ptr();
    // SAFETY: the place is ours, and every field of it is written; the kernel checks the size, and reads no more.
    unsafe {
        (*at).family = if v6 { V6 } else { V4 } as u32;
        // Of IPv4 the kernel reads the first word alone.
        (&raw mut (*at).address[0]).write_volatile(if v6 { address[0] } else { neighbour.v4_word() });
        (&raw mut (*at).address[1]).write_volatile(address[1]);
        (&raw mut (*at).address[2]).write_volatile(address[2]);
        (&raw mut (*at).address[3]).write_volatile(address[3]);
        bpf_redirect_neigh(ifindex, at.cast(), size_of::<Neighbour>() as i32, 0) as i32
    }
}

/// The last six bytes first.
#[inline(always)]
fn swapped([first, second, third]: [u32; 3]) -> [u32; 3] {
    let join = |before: u32, after: u32| match cfg!(target_endian = "little") {
        true => before >> 16 | after << 16,
        false => before << 16 | after >> 16,
    };
    [join(second, third), join(third, first), join(first, second)]
}
