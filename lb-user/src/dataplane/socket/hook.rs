use std::fmt;

/// A place in the kernel where one of our programs hangs. In the order in which they are attached: what follows a
/// connection must be there before connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Counts established and refused connections.
    SockOps,
    /// Shows the VIP as the peer of an IPv4 socket.
    GetPeerName4,
    /// Shows the VIP as the peer of an IPv6 socket.
    GetPeerName6,
    /// Rewrites IPv4 connects.
    Connect4,
    /// Rewrites IPv6 connects.
    Connect6,
}

impl Hook {
    /// All of them, in the order in which they are attached.
    pub const ALL: [Self; 5] =
        [Self::SockOps, Self::GetPeerName4, Self::GetPeerName6, Self::Connect4, Self::Connect6];

    /// The program's name in the object file.
    pub fn program(self) -> &'static str {
        match self {
            Self::SockOps => "lbctl_sockops",
            Self::GetPeerName4 => "lbctl_getpeername4",
            Self::GetPeerName6 => "lbctl_getpeername6",
            Self::Connect4 => "lbctl_connect4",
            Self::Connect6 => "lbctl_connect6",
        }
    }

    /// The name of its pins. bpffs allows no dots.
    pub fn pin(self) -> &'static str {
        match self {
            Self::SockOps => "sockops",
            Self::GetPeerName4 => "getpeername4",
            Self::GetPeerName6 => "getpeername6",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.pin())
    }
}
