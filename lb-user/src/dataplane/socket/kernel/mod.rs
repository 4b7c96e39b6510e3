//! The kernel side of the socket dataplane: bpf(2) and the memory shared with the programs. Only calls, no choices.

mod links;
mod load;
mod maps;
mod proof;
mod query;
mod rescued;
mod signals;

pub use links::Links;
pub use load::{BpfLog, Loaded, load, try_programs};
pub(super) use load::{RESCUE_PROGRAMS, RESCUE_SHAPES};
pub use maps::SocketMaps;
pub use proof::{Proof, answer_proof, prove, prove_again};
pub use query::attached;
pub use rescued::{Rescued, RescuedMaps};
pub use signals::Signals;
