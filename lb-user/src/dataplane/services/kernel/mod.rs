//! The tables in the kernel, and what is pinned. Only calls, no choices.

mod maps;
mod memory;
mod pins;
mod remove;

pub use maps::{SHAPES, ServiceMaps};
pub use memory::Shared;
pub use pins::{Pins, Shape, array, open_hash, open_map, pin_program};
pub use remove::remove_pins;
