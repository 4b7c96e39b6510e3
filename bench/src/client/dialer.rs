//! Opening connections.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use rustix::net::sockopt::set_socket_linger;

/// A peer silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// Knows the targets.
pub(super) struct Dialer<'a> {
    targets: &'a [SocketAddr],
}

impl<'a> Dialer<'a> {
    pub(super) fn new(targets: &'a [SocketAddr]) -> Self {
        Self { targets }
    }

    /// One of the targets.
    pub(super) fn pick(&self) -> anyhow::Result<SocketAddr> {
        fastrand::choice(self.targets).copied().context("pick a target: there is none")
    }

    /// A connection to one of the targets that will end as [`reset_at_end`] says.
    pub(super) fn dial(&self) -> anyhow::Result<TcpStream> {
        let target = self.pick()?;
        let failed = || format!("connect to {target}");
        let stream = TcpStream::connect(target).with_context(failed)?;
        stream.set_nodelay(true).with_context(failed)?;
        stream.set_read_timeout(Some(SILENCE)).with_context(failed)?;
        stream.set_write_timeout(Some(SILENCE)).with_context(failed)?;
        reset_at_end(&stream)?;
        Ok(stream)
    }
}

/// Has the connection end with a RST: no TIME_WAIT is left, which would soon hold every local port.
pub(super) fn reset_at_end(stream: &TcpStream) -> anyhow::Result<()> {
    set_socket_linger(stream, Some(Duration::ZERO)).context("set SO_LINGER")
}
