//! lbctl's decisions, free of I/O: what the configuration means, how healthy a backend is, who should serve,
//! and what the agent does next.
//!
//! Nothing here reads a clock, opens a file or talks to a kernel. Time is an argument, randomness is seeded by
//! the caller, and every outcome is a value, so that all of it can be tested as plain data.

pub mod config;
pub mod control;
pub mod desired;
pub mod health;
pub mod hosts;
pub mod manifest;
pub mod model;
pub mod operator;
pub mod probe;
pub mod state;
pub mod view;
