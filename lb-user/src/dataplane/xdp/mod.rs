//! An XDP program on network interfaces, in native mode, by pinned links. As everywhere, what is there is observed, compared
//! ([`diff`]) with what should be, and mended ([`Links`]).
//!
//! An interface has one XDP program. Where somebody else's is, ours is not put: the kernel would refuse that, and the
//! caller says so.

mod diff;
mod links;

pub use diff::{Change, diff};
pub use links::Links;
