//! The packet dataplane: destination NAT with a table of connections, on TC; XDP takes the
//! packets of those that are open from one wire to another.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../apart.rs"]
mod apart;
mod choice;
#[path = "../choose.rs"]
mod choose;
mod egress;
mod fib;
mod flows;
mod forward;
mod ingress;
mod look;
mod maps;
#[allow(dead_code, unused_imports, reason = "the socket dataplane's programs use the rest")]
#[path = "../nat/mod.rs"]
mod nat;
mod ports;
mod programs;
mod reverse;
mod shortcut;
mod straight;
mod verdict;
mod ways;
mod xdp;
