//! Everything of lbctl that touches the operating system.

pub mod admin;
pub mod agent;
pub mod cli;
pub mod dataplane;
pub mod discovery;
pub mod doctor;
pub mod os;
pub mod output;
pub mod probe;
