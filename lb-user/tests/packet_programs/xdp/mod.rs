//! XDP's program: what it takes, to the last byte, and that it leaves alone all that is TC's.

mod fuzz;
pub(super) mod machine;
mod passed;
mod taken;
