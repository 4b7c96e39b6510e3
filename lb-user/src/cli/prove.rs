use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{exit::Exit, print};
use crate::{dataplane::socket::answer_proof, os::cgroup};

/// Dial the proof address from within a cgroup: what the agent starts of itself
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Prove {
    /// Whom to dial
    address: SocketAddr,
    /// The cgroup to move into first
    cgroup: PathBuf,
}

impl Prove {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let Self { address, cgroup } = self;
        if let Err(error) = cgroup::enter(&cgroup) {
            let error = anyhow::Error::new(error);
            print::error(&error.context(format!("failed to enter cgroup {}", cgroup.display())));
            // The agent only asks whether it worked.
            return Ok(Exit::Failed);
        }
        answer_proof(address);
        Ok(Exit::Done)
    }
}
