//! The kernel side of the socket dataplane: bpf(2) and the memory shared with the programs. Only calls, no choices.

mod links;
mod load;
mod maps;
mod memory;
mod proof;
mod query;
mod remove;
mod signals;

pub use links::Links;
pub use load::{BpfLog, Loaded, Pins, load, try_programs};
pub use maps::KernelMaps;
pub use proof::{Proof, answer_proof, prove, prove_again};
pub use query::attached;
pub use remove::remove_pins;
pub use signals::Signals;
