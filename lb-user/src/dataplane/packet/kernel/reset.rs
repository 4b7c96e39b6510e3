//! Ending a connection at its client: a RST as if the VIP had sent it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, Protocol, RawProtocol, SendFlags, SocketFlags, SocketType, sendto, socket_with,
};

/// IPPROTO_RAW, raw(7): packets come with their IP header.
const RAW: RawProtocol = NonZeroU32::new(255).unwrap();
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// What most systems begin with; the client is a few hops away at most.
const TTL: u8 = 64;
/// RST, RFC 9293, 3.1.
const RST: u8 = 4;

/// Sends packets that say whence they come (CAP_NET_RAW).
pub struct ResetSender {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl ResetSender {
    /// Opens the sockets. A kernel without IPv6 has one less.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let open = |family| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(family, SocketType::RAW, flags, Some(Protocol::from_raw(RAW)))
        };
        Ok(Self { v4: Some(open(AddressFamily::INET)?), v6: open(AddressFamily::INET6).ok() })
    }

    /// Sends one, as from `from`. The client takes it if this is the sequence number that it expects.
    ///
    /// # Errors
    /// When the kernel has no route to the client, or refuses.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, sequence: u32) -> io::Result<()> {
        let (socket, packet) = match (from.ip(), to.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                (&self.v4, packet_v4(src, dst, segment(from, to, sequence)))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                (&self.v6, packet_v6(src, dst, segment(from, to, sequence)))
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let Some(socket) = socket else { return Err(io::ErrorKind::Unsupported.into()) };
        // A raw socket takes no port.
        let to = SocketAddr::new(to.ip(), 0);
        sendto(socket, &packet, SendFlags::empty(), &to)?;
        Ok(())
    }
}

/// The TCP header, with the checksum over the pseudo header too.
fn segment(from: SocketAddr, to: SocketAddr, sequence: u32) -> [u8; 20] {
    let mut tcp = [0; 20];
    tcp[0..2].copy_from_slice(&from.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = RST;
    let mut sum = sum_of(&tcp) + u32::from(TCP) + tcp.len() as u32;
    for ip in [from.ip(), to.ip()] {
        sum += match ip {
            IpAddr::V4(v4) => sum_of(&v4.octets()),
            IpAddr::V6(v6) => sum_of(&v6.octets()),
        };
    }
    tcp[16..18].copy_from_slice(&folded(sum).to_be_bytes());
    tcp
}

/// The kernel fills in length, identification and checksum, raw(7).
fn packet_v4(src: Ipv4Addr, dst: Ipv4Addr, segment: [u8; 20]) -> Vec<u8> {
    let mut ip = vec![0; 20];
    ip[0] = 4 << 4 | 5;
    ip[8] = TTL;
    ip[9] = TCP;
    ip[12..16].copy_from_slice(&src.octets());
    ip[16..20].copy_from_slice(&dst.octets());
    ip.extend(segment);
    ip
}

fn packet_v6(src: Ipv6Addr, dst: Ipv6Addr, segment: [u8; 20]) -> Vec<u8> {
    let mut ip = vec![0; 40];
    ip[0] = 6 << 4;
    ip[4..6].copy_from_slice(&(segment.len() as u16).to_be_bytes());
    ip[6] = TCP;
    ip[7] = TTL;
    ip[8..24].copy_from_slice(&src.octets());
    ip[24..40].copy_from_slice(&dst.octets());
    ip.extend(segment);
    ip
}

/// RFC 1071, of an even number of bytes.
fn sum_of(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_sums_up_to_nothing() {
        for (from, to) in [("10.0.0.1:6443", "10.0.0.2:40000"), ("[fd00::1]:6443", "[fd00::2]:40000")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let tcp = segment(from, to, 0xdead_beef);
            let octets = |ip| match ip {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let pseudo = [octets(from.ip()), octets(to.ip()), vec![0, TCP, 0, 20]].concat();
            assert_eq!(folded(sum_of(&tcp) + sum_of(&pseudo)), 0);
            assert_eq!(tcp[13], RST);
        }
    }
}
