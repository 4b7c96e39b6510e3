//! Which backend a new connection gets. The maps are those of the object that this is compiled into.

use core::{arch::asm, ptr};

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use lb_common::socket::{
    Backend, LEAST_OF, MAX_MEMBERS, Member, POLICY_LEAST_CONN, POLICY_ROUND_ROBIN, Service, Set,
};

use crate::{
    maps::{BACKENDS, SERVICES, SETS},
    ways::reaches,
};

/// A backend of the set in force, by the service's policy; `None`: nobody serves.
#[inline(always)]
pub fn choose(slot: u32) -> Option<(u32, *mut Backend)> {
    let service = SERVICES.get_ptr_mut(slot)?;
    let set = in_force(slot, service)?;
    // SAFETY: a pointer that the lookup returned; user space never writes a set in force.
    let (count, total, policy) = unsafe { ((*set).count, (*set).total, (*set).policy) };
    if count == 0 || total == 0 {
        return None;
    }
    // SAFETY: takes nothing.
    let random = || unsafe { bpf_get_prandom_u32() };
    let index = match policy {
        POLICY_LEAST_CONN => least_loaded(set, count, random()),
        POLICY_ROUND_ROBIN => member_at(set, turn(service, set, total)),
        _ => member_at(set, ((random() as u64 * total as u64) >> 32) as u32),
    };
    Some((index, BACKENDS.get_ptr_mut(index)?))
}

/// Another backend for a connection that is not answered, by its index: one of those that serve, else one that is up and
/// stands by. Not the one that it was sent to last; the one that it was sent to first only where there is nobody else. `first`
/// may be a number that no backend has. Not by weight: it is one connection. `None`: there is no other.
///
/// Four of each kind are looked at, from a place of chance on: one may be the last, one the first, and one on this node. Not a
/// loop, and without branches, as in [`least_loaded`].
#[inline(always)]
pub fn other(slot: u32, last: u32, first: u32) -> Option<u32> {
    let set = in_force(slot, SERVICES.get_ptr_mut(slot)?)?;
    // SAFETY: takes nothing.
    let random = unsafe { bpf_get_prandom_u32() } & 0xffff;
    let tried = (first as u64) << 32 | last as u64;
    let serves = |best, turn| better(set, best, tried, random + turn, 0);
    let stands_by = |best, turn| better(set, best, tried, random + turn, 1);
    let best = serves(serves(serves(serves(0, 0), 1), 2), 3);
    let best = stands_by(stands_by(stands_by(stands_by(best, 0), 1), 2), 3);
    (best != 0).then_some(best as u32)
}

/// The better of the best so far and the one at this place among those that serve, or of those that stand by (1): how
/// willingly it is chosen, above 0 where it may be at all, and in the lower half its index. `tried` has in its halves whom the
/// connection was sent to first and last. A function of its own for the sake of the stack, which it shares with its callers.
#[inline(never)]
fn better(set: *const Set, best: u64, tried: u64, place: u32, standing_by: u64) -> u64 {
    // SAFETY: a pointer that the lookup returned; user space never writes a set in force.
    let (count, reserve) = unsafe { ((*set).count as u64, (*set).reserve as u64) };
    let number = count.wrapping_add(standing_by.wrapping_mul(reserve.wrapping_sub(count)));
    let at = standing_by.wrapping_mul(count).wrapping_add(remainder(place as u64, number));
    let backend = member(set, at as u32).backend;
    let will_do = is_below(0, number) & is_other(backend, tried as u32) & reaches(backend);
    let is_fresh = is_other(backend, (tried >> 32) as u32);
    let rank = will_do.wrapping_mul(2 + 2 * is_fresh - standing_by);
    let is_better = is_below(best >> 32, rank);
    best.wrapping_add(is_better.wrapping_mul((rank << 32 | backend as u64).wrapping_sub(best)))
}

/// `a % b`, and `a` where `b` is 0, without a branch: as the instruction has it, Documentation/bpf/standardization.
#[inline(always)]
fn remainder(a: u64, b: u64) -> u64 {
    let mut remainder = a;
    // SAFETY: an operation on registers.
    unsafe { asm!("{a} %= {b}", a = inout(reg) remainder, b = in(reg) b) };
    remainder
}

/// The set in force is chosen by one read of `active`; everything after depends on it.
#[inline(always)]
fn in_force(slot: u32, service: *const Service) -> Option<*const Set> {
    // SAFETY: a pointer that the lookup returned; an aligned word that user space writes whole.
    let active = unsafe { ptr::read_volatile(&raw const (*service).active) };
    SETS.get_ptr(2 * slot + (active as u32 & 1))
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

/// 1 where the two differ, else 0, without a branch.
#[inline(always)]
fn is_other(a: u32, b: u32) -> u64 {
    is_below(0, (a ^ b) as u64)
}

/// 1 where `a < b`, else 0, of numbers below 2^63, without a branch.
#[inline(always)]
pub fn is_below(a: u64, b: u64) -> u64 {
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
