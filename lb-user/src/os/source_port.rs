//! Source ports that the kernel gives to nobody who does not ask for them.
//!
//! IPVS tells connections apart by the client's address and port. While the agent has a connection to a backend, another
//! one through the VIP that was given the same port would be the same to the backend, which ignores its SYN: it hangs.
//! So the agent takes ports that connect() does not choose by itself.

use std::{fs, io, net::SocketAddr, ops::RangeInclusive};

use tokio::net::{TcpSocket, TcpStream};

/// Where the ports begin and end that connect() chooses from, for IPv6 too:
/// [ip-sysctl](https://docs.kernel.org/networking/ip-sysctl.html).
const CHOSEN: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Fewer ports than this above those that the kernel chooses from are not worth a try: 64 backends, each dialled anew
/// within the minute that a port is not usable again.
const ROOM: u16 = 256;

/// Ports that are tried before the choice is left to the kernel.
const TRIES: usize = 4;

/// Connects from a port that the kernel would not choose, where there are such ports.
///
/// # Errors
/// As connect(2).
pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let ports = fs::read_to_string(CHOSEN).ok().and_then(|text| above(&text));
    for ports in std::iter::repeat_n(ports, TRIES).flatten() {
        match connect_from(fastrand::u16(ports), to).await {
            Err(error) if is_taken(&error) => {}
            result => return result,
        }
    }
    TcpStream::connect(to).await
}

async fn connect_from(port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let (socket, any) = if to.is_ipv4() {
        (TcpSocket::new_v4()?, SocketAddr::from(([0; 4], port)))
    } else {
        (TcpSocket::new_v6()?, SocketAddr::from(([0; 8], port)))
    };
    // So that a server can listen on that port all the same.
    socket.set_reuseaddr(true)?;
    socket.bind(any)?;
    socket.connect(to).await
}

/// Somebody has the port, or has had it for a connection to the same address a moment ago.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

/// The ports above the range. Those below are not taken: NodePorts are among them, where packets are looked at by their
/// destination port alone.
fn above(range: &str) -> Option<RangeInclusive<u16>> {
    let highest: u16 = range.split_whitespace().nth(1)?.parse().ok()?;
    let first = highest.checked_add(1)?;
    (u16::MAX - highest >= ROOM).then_some(first..=u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn ports_above_the_kernels_range_are_taken_where_there_are_enough() {
        assert_eq!(above("32768\t60999\n"), Some(61000..=65535));
        assert_eq!(above("1024\t65279\n"), Some(65280..=65535));
        for none in ["1024\t65280\n", "1024\t65535\n", "", "x y"] {
            assert_eq!(above(none), None, "{none:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_begins_at_a_port_that_the_kernel_would_not_choose() {
        let ports = above(&fs::read_to_string(CHOSEN).unwrap()).unwrap();
        for any in [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
            let listener = TcpListener::bind(any).await.unwrap();
            let stream = connect(listener.local_addr().unwrap()).await.unwrap();
            assert!(ports.contains(&stream.local_addr().unwrap().port()), "{stream:?}");
        }
    }

    #[tokio::test]
    async fn a_server_can_listen_on_the_port_that_was_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stream = connect(listener.local_addr().unwrap()).await.unwrap();
        let port = stream.local_addr().unwrap().port();
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
    }

    #[tokio::test]
    async fn who_is_refused_is_told_at_once_and_not_from_another_port() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(connect(to).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
