//! Programs on network interfaces: where they hang, and the routes that lead the node's own packets to them.
//!
//! As everywhere, what is there is observed, compared ([`diff`]) with what should be, and mended ([`Hooks`]).

mod diff;
mod kernel;
mod pattern;
mod place;

pub use diff::{Change, Hung, diff};
pub use kernel::{Hooks, Mended, Program, ROUTES};
pub use pattern::Pattern;
pub use place::{Direction, Foreign, Mechanism, Owner, Place, Title};
