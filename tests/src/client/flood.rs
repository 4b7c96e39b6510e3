//! `flood`: SYNs from this machine's own address, one from each source port in turn, that nobody means to follow up.
//!
//! The kernel knows nothing of these connections and answers a SYN-ACK with a RST, which ends them: a flood that is to
//! leave half-open connections behind needs a packet filter that drops the answers.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Instant;

use anyhow::{Context, bail};
use rustix::net::{AddressFamily, RawProtocol, SendFlags, SocketType, sendto, socket};
use serde_json::json;

use super::{Endpoint, TlsOptions, millis};

/// Source ports from here on, by IANA not for services.
const FIRST_PORT: u16 = 1024;
const HEADER: usize = 20;
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// The flag SYN, RFC 9293.
const SYN: u8 = 2;
/// Send this many, then look whether the machine keeps up.
const BURST: u32 = 64;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How many
    #[arg(long, default_value_t = 200_000)]
    count: u32,
}

/// Prints `{"sent", "refused", "ms"}`; what the own kernel did not take is `refused`.
pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let SocketAddr::V4(to) = args.endpoint.target(tls).await?.address else { bail!("flood over IPv6") };
    let from = own_address(to)?;
    let tcp = RawProtocol::new(TCP.into()).context("name the protocol")?;
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(rustix::net::Protocol::from_raw(tcp)))
        .context("open a raw socket")?;
    let began = Instant::now();
    let (mut sent, mut refused) = (0_u32, 0_u32);
    for number in 0..args.count {
        let segment = syn(from, to, number);
        let destination = SocketAddrV4::new(*to.ip(), 0);
        match sendto(&raw, &segment, SendFlags::empty(), &destination) {
            Ok(_) => sent += 1,
            Err(_) => refused += 1,
        }
        if number % BURST == 0 {
            tokio::task::yield_now().await;
        }
    }
    println!("{}", json!({"sent": sent, "refused": refused, "ms": millis(began.elapsed())}));
    Ok(())
}

/// The address that this machine's packets to `to` bear.
fn own_address(to: SocketAddrV4) -> anyhow::Result<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
    socket.connect(to).with_context(|| format!("find the way to {to}"))?;
    match socket.local_addr().context("read the own address")? {
        SocketAddr::V4(own) => Ok(*own.ip()),
        SocketAddr::V6(own) => bail!("the way to {to} begins at {own}"),
    }
}

/// The `number`th SYN: RFC 9293, without options.
fn syn(from: Ipv4Addr, to: SocketAddrV4, number: u32) -> [u8; HEADER] {
    let ports = u32::from(u16::MAX - FIRST_PORT) + 1;
    // Below 65,536 by the remainder.
    let port = u16::try_from(u32::from(FIRST_PORT) + number % ports).unwrap_or(FIRST_PORT);
    let mut segment = [0; HEADER];
    segment[0..2].copy_from_slice(&port.to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[4..8].copy_from_slice(&number.to_be_bytes());
    // The header's length in words of four bytes, in the upper half.
    segment[12] = 5 << 4;
    segment[13] = SYN;
    segment[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let checksum = checksum(from, *to.ip(), &segment);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// Over the pseudo-header and the segment.
fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8; HEADER]) -> u16 {
    let [a, b] = [from, to].map(|address: Ipv4Addr| address.octets());
    let rest = [0, TCP, 0, 20];
    let words = [&a[..], &b, &rest, segment].concat();
    let sum: u32 = words.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // Folded twice, a sum of so few words has no carry left.
    !u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_and_its_checksum_sum_up_to_nothing() {
        let (from, to) =
            (Ipv4Addr::new(192, 168, 81, 2), SocketAddrV4::new(Ipv4Addr::new(10, 103, 97, 2), 6443));
        for number in [0, 1, 77_777, 199_999] {
            assert_eq!(checksum(from, *to.ip(), &syn(from, to, number)), 0, "{number}");
        }
    }

    #[test]
    fn ports_come_in_turn() {
        let port = |number| {
            let segment = syn(Ipv4Addr::LOCALHOST, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), number);
            u16::from_be_bytes([segment[0], segment[1]])
        };
        assert_eq!([port(0), port(1), port(64_511), port(64_512)], [1024, 1025, 65_535, 1024]);
    }
}
