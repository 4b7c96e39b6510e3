//! The node agent: the one loop that turns events into effects, and the tasks around it.
//!
//! `event_loop` takes an event, asks `lb_core::control` what follows and does it; `reconcile` owns the dataplane on a
//! thread of its own; `probers` and `keepers` do the waiting.

mod answers;
mod event_loop;
mod followers;
mod keepers;
mod once;
mod plan;
mod planes;
mod probers;
mod publish;
mod reconcile;
mod reload;
mod start;
mod told;

use std::time::Duration;

pub use plan::{Plan, plan};

use crate::{
    admin::BindError,
    cli::{
        exit::Exit,
        source::{ConfigSource, ConfigSourceError},
    },
    dataplane::{DataplaneError, socket::BpfLog},
    os::lock::LockError,
};

/// How an agent is run.
#[derive(Debug)]
pub struct RunOptions {
    /// Where the configuration comes from, now and at every reload.
    pub source: ConfigSource,
    /// Program the node and exit; `None`: stay.
    pub once: Option<Once>,
    /// What the kernel programs log.
    pub bpf_log: BpfLog,
}

/// `--once`.
#[derive(Clone, Copy, Debug)]
pub struct Once {
    /// The longest wait until every service has a healthy backend; `None`: the first verdicts decide.
    pub wait: Option<Duration>,
}

/// How an agent ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, or did what `--once` asks for.
    Done,
    /// `--once` found no healthy backend for some service.
    NoHealthyBackend,
}

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be read or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigSourceError),
    /// The kernel or the host would not.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// Another agent runs, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The admin socket cannot be made.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// Something that every process needs was refused.
    #[error("failed to {operation}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// `--once` could not program the node in time.
    #[error("the node was not programmed within {after:.1?}: {why}; see the log")]
    NotProgrammed {
        /// How long it was tried.
        after: Duration,
        /// The last complaint.
        why: String,
    },
}

impl AgentError {
    /// The process's exit code, SPEC section 2.
    pub fn exit_code(&self) -> u8 {
        let exit = match self {
            Self::Config(error) => Exit::of(error),
            Self::Dataplane(error) => Exit::of(error),
            Self::Lock(_) | Self::Admin(_) | Self::System { .. } | Self::NotProgrammed { .. } => Exit::Failed,
        };
        exit.code()
    }

    fn system(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}

/// Runs an agent until SIGTERM or SIGINT, or as long as `--once` takes. The kernel keeps what it was given.
///
/// # Errors
/// Whatever keeps it from starting; once it runs, faults are shown in `lbctl status` and mended when they pass.
pub fn run(options: RunOptions) -> Result<Ended, AgentError> {
    // khugepaged would look through its memory time and again. A kernel before Linux 3.15, without PR_SET_THP_DISABLE, does.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The hosts file, the state file, the counters and the table of connections are each used by one task at a time.
        .max_blocking_threads(5)
        .build()
        .map_err(AgentError::system("start the runtime"))?;
    let ended = runtime.block_on(async {
        let agent = start::start(options).await?;
        // As a task like the others: each wake-up of the root future takes a write to the runtime's own eventfd.
        let running = tokio::spawn(agent.run()).await;
        running.unwrap_or_else(|e| Err(AgentError::system("run the agent's loop")(std::io::Error::other(e))))
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// An error with its causes, for people.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
