//! Changing the addresses of packets: `parse` reads headers, `rewrite` changes them, `reset` turns a packet into a refusal of
//! itself. Nothing here knows why.
//!
//! Headers at offsets that are known beforehand are read where they lie, which is what most packets have: TCP right behind a
//! network header without options. All others are read by bpf_skb_load_bytes: its bounds are the kernel's business, so the
//! verifier has none to prove, with or without CAP_PERFMON.

mod parse;
mod reset;
mod rewrite;
mod wire;

pub use parse::{
    ACK, FIN, Kind, Packet, Parsed, RST, SYN, Segment, parse, parse_near_v4, parse_near_v6, parse_plain,
};
pub use reset::{Reply, reply_with_reset};
pub use rewrite::{Edit, Reach, pass_on, rewrite, rewrite_near};
pub use wire::{Link, Skb};
