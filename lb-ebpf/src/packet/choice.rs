//! The choice of a backend, looked at by itself as what is in `apart`.

use crate::{apart::NONE, choose::choose};

/// The index that [`choose`] gives, or [`NONE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lbctl_choose(slot: u32) -> u32 {
    choose(slot).map_or(NONE, |(index, _)| index)
}
