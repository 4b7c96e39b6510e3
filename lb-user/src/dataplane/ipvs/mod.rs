//! The IPVS dataplane.

pub mod kernel;
