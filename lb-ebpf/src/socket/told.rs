//! As `main.rs`, with each decision told through aya-log.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

macro_rules! tell {
    ($($words:expr),*) => { aya_log_ebpf::debug!($($words),*) };
}

#[path = "../apart.rs"]
mod apart;
#[path = "../choose.rs"]
mod choose;
mod count;
mod maps;
#[allow(dead_code, unused_imports, reason = "the packet dataplane's programs use the rest")]
#[path = "../nat/mod.rs"]
mod nat;
mod packets;
mod patience;
mod programs;
mod rescue;
mod signal;
mod track;
mod translate;
mod ways;
