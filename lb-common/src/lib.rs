//! The bytes that lbctl's kernel programs and its user space share.
//!
//! Byte order, once and for all: an [`Address`] holds sixteen octets in network order, as they lie in memory; a
//! port is the 16-bit number in network order, as the kernel gives it in `bpf_sock_addr.user_port`, in the low bits
//! of a word. Everything else is in the machine's own order. IPv4 addresses are kept as IPv4-mapped IPv6 ones
//! (RFC 4291, 2.5.5.2), so that one table serves `connect4`, `connect6` and v4-mapped sockets alike.
//!
//! All fields are 64-bit words or come in pairs of 32-bit ones: no implicit padding, and no copy that the compiler
//! turns into `memcpy`, for which the verifier wants CAP_PERFMON.
#![no_std]

mod endpoint;
pub mod packet;
pub mod socket;

pub use endpoint::{Address, Endpoint};
