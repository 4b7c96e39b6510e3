//! The entry points. Each is inlined into what aya's macro makes of it: a call's stack counts as 32 bytes at least, of the 512
//! that all have together (check_max_stack_depth, kernel/bpf/verifier.c).

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

use crate::{
    egress::egress,
    ingress::ingress,
    nat::{Link, Skb},
    xdp::fast,
};

/// On the way in by an interface with an Ethernet header.
#[classifier]
#[inline(always)]
pub fn lbctl_in(ctx: TcContext) -> i32 {
    ingress(Skb(ctx.skb.skb), Link::Ethernet)
}

/// On the way out by an interface with an Ethernet header.
#[classifier]
#[inline(always)]
pub fn lbctl_out(ctx: TcContext) -> i32 {
    egress(Skb(ctx.skb.skb), Link::Ethernet)
}

/// On the way in by an interface without one.
#[classifier]
#[inline(always)]
pub fn lbctl_in_l3(ctx: TcContext) -> i32 {
    ingress(Skb(ctx.skb.skb), Link::None)
}

/// On the way out by an interface without one.
#[classifier]
#[inline(always)]
pub fn lbctl_out_l3(ctx: TcContext) -> i32 {
    egress(Skb(ctx.skb.skb), Link::None)
}

/// On the way in by a wire, before the kernel makes an skb of the packet.
#[xdp]
#[inline(always)]
pub fn lbctl_wire(ctx: XdpContext) -> u32 {
    fast(ctx.ctx)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The helpers in use are for programs under the GPL or a compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
