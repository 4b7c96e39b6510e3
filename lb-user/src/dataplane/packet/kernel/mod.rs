//! The kernel side of the packet dataplane. Only calls, no choices.

mod flows;
mod load;
mod maps;
mod reset;
mod told;
mod wires;

pub use flows::{Entry, FlowMaps, Stage};
pub use load::{Programs, load, pins, try_programs};
pub use maps::PacketMaps;
pub use reset::ResetSender;
pub use told::ToldMaps;
pub use wires::WireMaps;
