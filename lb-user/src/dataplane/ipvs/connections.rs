//! IPVS's table of connections: who talks through which VIP to which backend.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_core::control::Pair;

/// The table of the calling thread's network namespace. /proc/net would be that of the process's first thread.
const TABLE: &str = "/proc/thread-self/net/ip_vs_conn";
/// The most connections that are kept of one reading: a bound on memory (about 10 MiB).
const MAX_CONNECTIONS: usize = 100_000;
/// How often the table is read for one answer: the kernel shows it page by page and loses its place when entries go
/// meanwhile, so that one reading may miss some.
const READINGS: usize = 2;

/// One connection. The order is that of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The VIP and the backend behind it.
    pub pair: Pair,
    /// The client's own address, before any masquerading.
    pub client: SocketAddr,
}

/// The connections of some pairs. Without IPVS there are none.
pub fn read(is_wanted: impl Fn(&Pair) -> bool) -> io::Result<BTreeSet<Connection>> {
    let mut found = BTreeSet::new();
    for _ in 0..READINGS {
        match File::open(TABLE) {
            Ok(table) => collect(BufReader::new(table), &is_wanted, &mut found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn collect(
    table: impl BufRead,
    is_wanted: impl Fn(&Pair) -> bool,
    found: &mut BTreeSet<Connection>,
) -> io::Result<()> {
    for line in table.lines() {
        if let Some(connection) = parse(&line?)
            && is_wanted(&connection.pair)
            && found.len() < MAX_CONNECTIONS
        {
            found.insert(connection);
        }
    }
    Ok(())
}

/// Reads one line: protocol, client, VIP and backend, each as address and port in hexadecimal, then what does not matter
/// here (ip_vs_conn_seq_show() in net/netfilter/ipvs/ip_vs_conn.c). `None`: the heading, or not TCP.
fn parse(line: &str) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("TCP") {
        return None;
    }
    let mut endpoint = || Some(SocketAddr::new(address(words.next()?)?, port(words.next()?)?));
    let (client, vip, backend) = (endpoint()?, endpoint()?, endpoint()?);
    Some(Connection { pair: (vip, backend), client })
}

/// `0A6761C2`, or the eight groups of an IPv6 address.
fn address(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return Some(IpAddr::V6(word.parse::<Ipv6Addr>().ok()?));
    }
    let bits = u32::from_str_radix(word, 16).ok()?;
    (word.len() == 8).then(|| IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

fn port(word: &str) -> Option<u16> {
    u16::from_str_radix(word, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C0A8000A C350 0A6761C2 192B C0A80002 192B ESTABLISHED     899
TCP fd00:0000:0000:0000:0000:0000:0000:000a C351 fd00:0000:0000:0000:0000:0000:0000:0002 192B fd01:0000:0000:0000:0000:0000:0000:0003 192B SYN_SENT          59
UDP C0A8000A C350 0A6761C2 0035 C0A80002 0035 UDP             299
TCP C0A8000B 0000 0A6761C2 192B C0A80002 192B NONE             40 sip call
TCP C0A8000A
TCP zzzz C350 0A6761C2 192B C0A80002 192B ESTABLISHED     899
";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn tcp_connections_of_both_families_are_read_and_nothing_else() {
        let mut found = BTreeSet::new();
        collect(TABLE.as_bytes(), |_| true, &mut found).unwrap();
        let v4 = (addr("10.103.97.194:6443"), addr("192.168.0.2:6443"));
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [
                Connection { pair: v4, client: addr("192.168.0.10:50000") },
                Connection { pair: v4, client: addr("192.168.0.11:0") },
                Connection {
                    pair: (addr("[fd00::2]:6443"), addr("[fd01::3]:6443")),
                    client: addr("[fd00::a]:50001")
                },
            ]
        );
    }

    #[test]
    fn only_the_wanted_pairs_are_kept() {
        let mut found = BTreeSet::new();
        collect(TABLE.as_bytes(), |(vip, _)| vip.is_ipv6(), &mut found).unwrap();
        assert_eq!(found.len(), 1);
    }
}
