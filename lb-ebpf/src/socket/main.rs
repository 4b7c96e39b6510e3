//! The socket dataplane: an address is chosen once, at connect(); packets are never touched.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

/// Nobody is told. Not even code that the verifier finds dead remains: without CAP_PERFMON kernels before 6.16 check it too,
/// as a processor might run it speculatively, and aya-log's does not pass.
macro_rules! tell {
    ($ctx:expr, $($words:expr),*) => {
        let _ = $ctx;
    };
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
