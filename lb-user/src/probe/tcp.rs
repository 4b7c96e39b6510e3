use std::io::ErrorKind;

use lb_core::probe::{Failure, Phase};
use tokio::net::TcpStream;

use super::{connection::BODY_MAX, failure};

/// A connection that nothing is asked on.
pub(super) struct Tcp {
    stream: TcpStream,
    /// What may still come unasked for; a greeting is common.
    left: usize,
}

impl Tcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, left: BODY_MAX }
    }

    /// Waits until it ends. One on which too much comes in is not read on, and so not seen to end.
    pub(super) async fn ending(&mut self) -> Failure {
        let mut buffer = [0; 512];
        while self.left > 0 {
            if let Err(error) = self.stream.readable().await {
                return failure::of_io(&error, Phase::Idle);
            }
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Failure::Closed(Phase::Idle),
                Ok(length) => self.left = self.left.saturating_sub(length),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return failure::of_io(&error, Phase::Idle),
            }
        }
        std::future::pending().await
    }
}
