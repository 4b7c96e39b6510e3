//! The kernel programs are the binaries of this package; see `src/socket/main.rs`.
#![no_std]
