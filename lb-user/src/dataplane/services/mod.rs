//! Services and who serves them, in tables that kernel programs read: what the dataplanes made of eBPF have in common.
//!
//! `native` is the state as data, `encode` its bytes, `tables` the order of writes; `kernel` has the maps, and what is pinned.

pub mod encode;
pub mod kernel;
pub mod native;
mod tables;

pub use kernel::{Pins, SHAPES, Shape, array, open_hash, open_map, pin_program, remove_pins};
pub use native::{ServiceChange, Services, diff, lower};
pub use tables::{Maps, Tables};
