//! Who talks to whom. The source addresses make a packet without a link header one of the right protocol for
//! BPF_PROG_TEST_RUN: see [`super::kernel`].

use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn address(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => v6.into(),
        }
    }

    pub fn client(self) -> SocketAddr {
        SocketAddr::new(self.outside(7), 40_123)
    }

    /// An address of no part in this.
    pub fn outside(self, number: u8) -> IpAddr {
        self.address([8, 0, 1, number], [0x2001, 0xdb8, 0x86dd, 1, 0, 0, 0, number.into()])
    }

    /// The node's, towards its backends.
    pub fn node(self) -> IpAddr {
        self.address([8, 0, 3, 1], [0x2001, 0xdb8, 0x86dd, 3, 0, 0, 0, 1])
    }

    pub fn vip(self) -> SocketAddr {
        SocketAddr::new(self.address([8, 0, 96, 1], [0x2001, 0xdb8, 0x86dd, 96, 0, 0, 0, 1]), 6443)
    }

    pub fn backend(self, number: u8) -> SocketAddr {
        let ip = self.address([8, 0, 2, number], [0x2001, 0xdb8, 0x86dd, 2, 0, 0, 0, number.into()]);
        SocketAddr::new(ip, 16_443)
    }

    /// A router between the node and its backends.
    pub fn router(self) -> IpAddr {
        self.address([8, 0, 4, 1], [0x2001, 0xdb8, 0x86dd, 4, 0, 0, 0, 1])
    }
}
