//! The entry points, thin: `translate` decides, `track` remembers, `count` follows a connection's life.

use aya_ebpf::{
    helpers::generated::bpf_set_retval,
    macros::{cgroup_sock_addr, classifier, sock_ops},
    programs::{SockAddrContext, SockOpsContext, TcContext},
};
use lb_common::{Address, Endpoint};

use crate::{
    count, maps,
    nat::{Link, Skb},
    packets, track,
    translate::{self, Hook, Verdict},
};

/// What a cgroup program returns to let the call go on.
const ALLOW: i32 = 1;
/// What a cgroup program returns to make the call fail, with EPERM unless `bpf_set_retval` named another error.
const DENY: i32 = 0;

/// No route to host, errno(3).
const EHOSTUNREACH: i32 = 113;

/// Rewrites an IPv4 connect() to a VIP.
#[cgroup_sock_addr(connect4)]
pub fn lbctl_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier vouches for the context and its fields.
    let wanted = unsafe {
        Endpoint::new(Address::from_v4_word((*ctx.sock_addr).user_ip4), (*ctx.sock_addr).user_port)
    };
    match translate::connect(&ctx, &wanted, Hook::Connect4) {
        Verdict::Untouched => ALLOW,
        Verdict::Recorded => DENY,
        Verdict::Refused => refuse(&ctx),
        Verdict::Backend(backend) => {
            tell!(
                &ctx,
                "connect4 {:i} -> {:i}",
                u32::from_be(wanted.address().v4_word()),
                u32::from_be(backend.address().v4_word())
            );
            // SAFETY: connect4 programs may write these two fields.
            unsafe {
                (*ctx.sock_addr).user_ip4 = backend.address().v4_word();
                (*ctx.sock_addr).user_port = backend.port_word();
            }
            ALLOW
        }
    }
}

/// Rewrites an IPv6 connect() to a VIP, or an IPv4 one made through a v4-mapped address, as most of Go's are.
#[cgroup_sock_addr(connect6)]
pub fn lbctl_connect6(ctx: SockAddrContext) -> i32 {
    let wanted = user_endpoint6(&ctx);
    match translate::connect(&ctx, &wanted, Hook::Connect6) {
        Verdict::Untouched => ALLOW,
        Verdict::Recorded => DENY,
        Verdict::Refused => refuse(&ctx),
        Verdict::Backend(backend) => {
            tell!(&ctx, "connect6 port {} -> port {}", wanted.port(), backend.port());
            write_endpoint6(&ctx, &backend);
            ALLOW
        }
    }
}

/// Shows the VIP as the peer of a socket that was connected to it.
#[cgroup_sock_addr(getpeername4)]
pub fn lbctl_getpeername4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier vouches for the context and its fields.
    let peer = unsafe {
        Endpoint::new(Address::from_v4_word((*ctx.sock_addr).user_ip4), (*ctx.sock_addr).user_port)
    };
    if let Some(vip) = track::vip_of_peer(&ctx, &peer) {
        // SAFETY: getpeername4 programs may write these two fields.
        unsafe {
            (*ctx.sock_addr).user_ip4 = vip.address().v4_word();
            (*ctx.sock_addr).user_port = vip.port_word();
        }
    }
    ALLOW
}

/// Shows the VIP as the peer of a socket that was connected to it.
#[cgroup_sock_addr(getpeername6)]
pub fn lbctl_getpeername6(ctx: SockAddrContext) -> i32 {
    let peer = user_endpoint6(&ctx);
    if let Some(vip) = track::vip_of_peer(&ctx, &peer) {
        write_endpoint6(&ctx, &vip);
    }
    ALLOW
}

/// Counts established and refused connections.
#[sock_ops]
pub fn lbctl_sockops(ctx: SockOpsContext) -> u32 {
    count::follow::<false>(&ctx);
    1
}

/// As `lbctl_sockops`, and sends those that are not answered to another backend. A program of its own: before Linux 6.16 it needs
/// CAP_PERFMON, which must not be needed for the rest.
#[sock_ops]
pub fn lbctl_sockops_rescue(ctx: SockOpsContext) -> u32 {
    count::follow::<true>(&ctx);
    1
}

/// On the way in by an interface that leads to a backend, with an Ethernet header.
#[classifier]
pub fn lbctl_rescue_in(ctx: TcContext) -> i32 {
    packets::ingress(Skb(ctx.skb.skb), Link::Ethernet)
}

/// On the way out by such an interface, or by the loopback interface to a backend on this node.
#[classifier]
pub fn lbctl_rescue_out(ctx: TcContext) -> i32 {
    packets::egress(Skb(ctx.skb.skb), Link::Ethernet)
}

/// As `lbctl_rescue_in`, by one without a header.
#[classifier]
pub fn lbctl_rescue_in_l3(ctx: TcContext) -> i32 {
    packets::ingress(Skb(ctx.skb.skb), Link::None)
}

/// As `lbctl_rescue_out`, by one without a header.
#[classifier]
pub fn lbctl_rescue_out_l3(ctx: TcContext) -> i32 {
    packets::egress(Skb(ctx.skb.skb), Link::None)
}

#[inline(always)]
fn user_endpoint6(ctx: &SockAddrContext) -> Endpoint {
    // SAFETY: the verifier vouches for the context and its fields.
    unsafe {
        let ip = [
            (*ctx.sock_addr).user_ip6[0],
            (*ctx.sock_addr).user_ip6[1],
            (*ctx.sock_addr).user_ip6[2],
            (*ctx.sock_addr).user_ip6[3],
        ];
        Endpoint::new(Address::from_v6_words(ip), (*ctx.sock_addr).user_port)
    }
}

#[inline(always)]
fn write_endpoint6(ctx: &SockAddrContext, endpoint: &Endpoint) {
    let ip = endpoint.address().v6_words();
    // SAFETY: connect6 and getpeername6 programs may write these fields.
    unsafe {
        (*ctx.sock_addr).user_ip6[0] = ip[0];
        (*ctx.sock_addr).user_ip6[1] = ip[1];
        (*ctx.sock_addr).user_ip6[2] = ip[2];
        (*ctx.sock_addr).user_ip6[3] = ip[3];
        (*ctx.sock_addr).user_port = endpoint.port_word();
    }
}

#[inline(always)]
fn refuse(ctx: &SockAddrContext) -> i32 {
    tell!(ctx, "refused: no backend serves");
    if maps::HAS_SET_RETVAL.load() != 0 {
        // SAFETY: takes an integer; only reached where the kernel has the helper.
        unsafe { bpf_set_retval(-EHOSTUNREACH) };
    }
    DENY
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
