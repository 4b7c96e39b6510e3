//! The decision: where does this connect() go?

use core::{arch::asm, ptr};

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_prandom_u32},
    programs::SockAddrContext,
};
use lb_common::{
    Endpoint,
    socket::{
        Backend, LEAST_OF, MAX_MEMBERS, Member, POLICY_LEAST_CONN, POLICY_ROUND_ROBIN, PROOF_SLOT, Service,
        Set, Settings,
    },
};

use crate::{
    maps::{BACKENDS, SERVICES, SETS, SETTINGS, VIPS},
    track,
};

/// `SOCK_STREAM`, socket(2).
const SOCK_STREAM: u32 = 1;
/// `IPPROTO_TCP`, ip(7).
const IPPROTO_TCP: u32 = 6;

/// Which hook asks.
#[derive(Clone, Copy)]
pub enum Hook {
    /// `BPF_CGROUP_INET4_CONNECT`.
    Connect4,
    /// `BPF_CGROUP_INET6_CONNECT`.
    Connect6,
}

/// What becomes of a connect().
pub enum Verdict {
    /// None of our business.
    Untouched,
    /// The agent's proof that the hook is effective.
    Recorded,
    /// A VIP that no backend serves.
    Refused,
    /// It goes here.
    Backend(Endpoint),
}

/// Decides, counts and tracks; changes nothing in the context.
#[inline(always)]
pub fn connect(ctx: &SockAddrContext, wanted: &Endpoint, hook: Hook) -> Verdict {
    // SAFETY: the verifier vouches for the context and its fields.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return Verdict::Untouched;
    }
    // SAFETY: an element's value is written once, before it is inserted.
    let Some(&slot) = (unsafe { VIPS.get(wanted) }) else {
        return Verdict::Untouched;
    };
    let Some(settings) = SETTINGS.get_ptr_mut(0) else {
        return Verdict::Untouched;
    };
    if slot == PROOF_SLOT {
        record_proof(ctx, settings, hook);
        return Verdict::Recorded;
    }
    if !in_scope(ctx, settings) {
        return Verdict::Untouched;
    }
    let Some(service) = SERVICES.get_ptr_mut(slot) else {
        return Verdict::Untouched;
    };
    let Some((index, backend)) = choose(slot, service) else {
        return Verdict::Refused;
    };
    // SAFETY: a pointer that the lookup returned, into an array that outlives the program.
    unsafe {
        add(&raw mut (*backend).total, 1);
        track::remember(ctx, wanted, &(*backend).endpoint, index, settings);
        Verdict::Backend((*backend).endpoint)
    }
}

#[inline(always)]
fn in_scope(ctx: &SockAddrContext, settings: *const Settings) -> bool {
    // SAFETY: a pointer that the lookup returned; an aligned word that user space writes whole.
    let cookie = unsafe { ptr::read_volatile(&raw const (*settings).netns_cookie) };
    // SAFETY: the helper takes the context.
    cookie == 0 || cookie == unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn record_proof(ctx: &SockAddrContext, settings: *mut Settings, hook: Hook) {
    // SAFETY: a pointer that the lookup returned; the helper takes the context.
    unsafe {
        (*settings).proof_cookie = bpf_get_netns_cookie(ctx.as_ptr());
        match hook {
            Hook::Connect4 => add(&raw mut (*settings).proofs4, 1),
            Hook::Connect6 => add(&raw mut (*settings).proofs6, 1),
        }
    }
}

/// The set in force is chosen by one read of `active`; everything after depends on it.
#[inline(always)]
fn choose(slot: u32, service: *mut Service) -> Option<(u32, *mut Backend)> {
    // SAFETY: a pointer that the lookup returned; an aligned word that user space writes whole.
    let active = unsafe { ptr::read_volatile(&raw const (*service).active) };
    let set = SETS.get_ptr(2 * slot + (active as u32 & 1))?;
    // SAFETY: as above; user space never writes a set in force.
    let (count, total, policy) = unsafe { ((*set).count, (*set).total, (*set).policy) };
    if count == 0 || total == 0 {
        return None;
    }
    // SAFETY: takes nothing.
    let random = || unsafe { bpf_get_prandom_u32() };
    let index = match policy {
        POLICY_LEAST_CONN => least_loaded(set, count, random()),
        POLICY_ROUND_ROBIN => member_at(set, turn(service, set, total)),
        _ => member_at(set, (random() as u64 * total as u64 >> 32) as u32),
    };
    Some((index, BACKENDS.get_ptr_mut(index)?))
}

/// The next point of the round. Read and addition are apart, because adding with a result needs Linux 5.12: two
/// connects at the same instant may get the same turn, and the one after skips none but theirs.
#[inline(always)]
fn turn(service: *mut Service, set: *const Set, total: u32) -> u32 {
    // SAFETY: pointers that lookups returned.
    unsafe {
        let turn = ptr::read_volatile(&raw const (*service).turn);
        add(&raw mut (*service).turn, 1);
        let step = turn.checked_rem(total as u64).unwrap_or(0) * (*set).stride as u64;
        step.checked_rem(total as u64).unwrap_or(0) as u32
    }
}

/// The member with the fewest established connections for its weight, this one included; of several the first from a
/// place of chance on, so that nodes that are all idle do not agree on one. Not a loop, and without branches: without
/// CAP_PERFMON the verifier also follows what only a mispredicted branch would run, and so no loop ever ends for it.
#[inline(always)]
fn least_loaded(set: *const Set, count: u32, random: u32) -> u32 {
    const { assert!(LEAST_OF == 8) };
    // Those of a smaller set come round again, which changes nothing.
    let at = |turn: u32| (random & 0xffff).wrapping_add(turn).checked_rem(count).unwrap_or(0);
    let least = Least { backend: 0, load: 1 << 40, weight: 1 };
    let least = least.or(set, at(0)).or(set, at(1)).or(set, at(2)).or(set, at(3));
    let least = least.or(set, at(4)).or(set, at(5)).or(set, at(6)).or(set, at(7));
    least.backend as u32
}

/// The least loaded member so far.
#[derive(Clone, Copy)]
struct Least {
    backend: u64,
    /// At first higher than any.
    load: u64,
    weight: u64,
}

impl Least {
    #[inline(always)]
    fn or(self, set: *const Set, at: u32) -> Self {
        let Member { backend, upto } = member(set, at);
        let below = member(set, at.wrapping_sub(1)).upto * not_above(1, at) as u32;
        let weight = upto.wrapping_sub(below) as u64;
        let Some(record) = BACKENDS.get_ptr(backend) else {
            return self;
        };
        // SAFETY: a pointer that the lookup returned; an aligned word.
        let load = unsafe { ptr::read_volatile(&raw const (*record).active) }.wrapping_add(1);
        let is_less = is_below(load.wrapping_mul(self.weight), self.load.wrapping_mul(weight));
        let choose =
            |ours: u64, other: u64| ours.wrapping_add(is_less.wrapping_mul(other.wrapping_sub(ours)));
        Self {
            backend: choose(self.backend, backend as u64),
            load: choose(self.load, load),
            weight: choose(self.weight, weight),
        }
    }
}

#[inline(always)]
fn member(set: *const Set, at: u32) -> Member {
    // SAFETY: the index is masked into the array.
    unsafe { *(&raw const (*set).members).cast::<Member>().add(masked(at)) }
}

/// An index into the members, masked where the verifier sees it: the compiler would leave out a mask of what it knows to
/// be in range.
#[inline(always)]
fn masked(index: u32) -> usize {
    const { assert!(MAX_MEMBERS == 64) };
    let mut masked = index as u64;
    // SAFETY: an operation on a register.
    unsafe { asm!("{masked} &= 63", masked = inout(reg) masked) };
    masked as usize
}

/// The first member whose `upto` is above the point, by binary search: six steps for 64 members.
#[inline(always)]
fn member_at(set: *const Set, point: u32) -> u32 {
    let mut low = 0_usize;
    let mut step = MAX_MEMBERS / 2;
    while step > 0 {
        // SAFETY: the index is masked into the array.
        let upto = unsafe { (*set).members[(low + step - 1) & (MAX_MEMBERS - 1)].upto };
        low += step * not_above(upto, point);
        step /= 2;
    }
    // SAFETY: as above.
    unsafe { (*set).members[low & (MAX_MEMBERS - 1)].backend }
}

/// 1 where `upto <= point`, else 0, by arithmetic: after a branch the verifier would know the index on each path, and
/// then a pointer plus that index needs CAP_PERFMON.
#[inline(always)]
fn not_above(upto: u32, point: u32) -> usize {
    is_below(upto as u64, point as u64 + 1) as usize
}

/// 1 where `a < b`, else 0, of numbers below 2^63, without a branch.
#[inline(always)]
fn is_below(a: u64, b: u64) -> u64 {
    let mut sign = a.wrapping_sub(b);
    // SAFETY: a shift of a register; written out so that it is not turned back into a branch.
    unsafe { asm!("{sign} >>= 63", sign = inout(reg) sign) };
    sign
}

/// An atomic addition without a result: `BPF_XADD`, which every supported kernel has. The instruction is written out
/// because the library offers none for this target.
///
/// # Safety
/// The word is aligned and lives in a map.
#[inline(always)]
pub unsafe fn add(word: *mut u64, n: u64) {
    // SAFETY: the caller's; the instruction changes nothing but the word.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {n}", word = in(reg) word, n = in(reg) n) };
}
