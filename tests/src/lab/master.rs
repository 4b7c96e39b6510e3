//! A master: a stand-in that can be killed, stopped, cut off and made to misbehave.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::Value;

use super::network::{Host, Network, Port};
use super::{HOSTNAME, PORT, VIP, VIP_V6};
use crate::pki::{Issued, Pki, Signer};
use crate::process::Proc;
use crate::standin::Misbehaviour;
use crate::wait::eventually;
use crate::{binaries, unix_http};

/// A debug build needs some 20 ms; a busy machine more.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// The stand-in's own grace is 3 s.
const TERMINATE_DEADLINE: Duration = Duration::from_secs(10);

/// How a master's process is started.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// How it is broken from the start.
    pub misbehaviour: Misbehaviour,
    /// Which authority its certificate comes from.
    pub signer: Signer,
    /// HTTP/1.1 without TLS.
    pub plain: bool,
    /// How long it goes on serving after SIGTERM.
    pub shutdown_delay: Duration,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            misbehaviour: Misbehaviour::None,
            signer: Signer::Lab,
            plain: false,
            shutdown_delay: Duration::ZERO,
        }
    }
}

/// One apiserver and the host it runs on.
pub struct Master {
    name: String,
    process: Mutex<Option<Proc>>,
    host: Arc<Host>,
    network: Arc<Network>,
    trusted: Issued,
    untrusted: Issued,
    client_ca: PathBuf,
    dir: PathBuf,
    starts: AtomicU32,
}

impl Master {
    pub(super) fn new(
        name: String,
        host: Arc<Host>,
        network: Arc<Network>,
        pki: &Pki,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let mut sans = vec![HOSTNAME.to_owned(), "kubernetes".to_owned(), "localhost".to_owned()];
        for address in [VIP, VIP_V6] {
            let address: SocketAddr = address.parse().context("read the virtual address")?;
            sans.push(address.ip().to_string());
        }
        sans.extend(host.sockets(PORT).map(|address| address.ip().to_string()));
        let trusted = pki.issue(Signer::Lab, &name, &sans)?;
        let untrusted = pki.issue(Signer::Other, &format!("{name}-other"), &sans)?;
        let dir = dir.to_owned();
        Ok(Self {
            name,
            process: Mutex::new(None),
            host,
            network,
            trusted,
            untrusted,
            client_ca: pki.ca(Signer::Lab),
            dir,
            starts: AtomicU32::new(0),
        })
    }

    /// Its name, as `/whoami` gives it: `m1`, `m2`, …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves over IPv4.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.host.v4(), PORT))
    }

    /// Where it serves over IPv6.
    #[must_use]
    pub fn address_v6(&self) -> SocketAddr {
        SocketAddr::from((self.host.v6(), PORT))
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.slot().as_ref().map(Proc::pid)
    }

    /// The machine it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it runs already, or does not come to listen: quotes its stderr.
    pub fn start(&self) -> anyhow::Result<()> {
        self.start_as(Launch::default())
    }

    /// Starts it in another way than the usual one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(&self, launch: Launch) -> anyhow::Result<()> {
        let mut slot = self.slot();
        ensure!(slot.is_none(), "start {}: it runs already", self.name);
        let mut command = self.host.place().command(&binaries::standin()?, &self.arguments(launch))?;
        let log = format!("{}-{}", self.name, self.starts.fetch_add(1, Relaxed));
        let mut process = Proc::spawn(&log, &self.dir.join("logs"), &mut command)?;
        let listens = eventually(START_DEADLINE, &format!("{} listens", self.name), || {
            if process.stdout().contains("ready\n") {
                return Ok(true);
            }
            let running = process.is_running().map_err(|error| error.to_string())?;
            if running { Err("it is silent".to_owned()) } else { Ok(false) }
        })?;
        ensure!(listens, "start {}: it has ended: {}", self.name, process.stderr().trim());
        *slot = Some(process);
        Ok(())
    }

    /// SIGKILL; returns once the process and its sockets are gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.take()?.kill()
    }

    /// SIGTERM; returns at once. [`Self::terminate`] afterwards waits for the end.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ask_to_end(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGTERM; returns once it has finished its connections and exited.
    ///
    /// # Errors
    /// When it does not run, does not end, or does not exit with 0.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let mut process = self.take()?;
        process.signal(Signal::TERM)?;
        process.wait_deadline(TERMINATE_DEADLINE)?.success()?;
        Ok(())
    }

    /// SIGSTOP: its kernel goes on accepting connections and acknowledging data, the process does nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT after [`Self::stop`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn cont(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Cuts its cable: every packet from and to its host vanishes, and nobody is told. Not for a local master.
    ///
    /// # Errors
    /// When bridge(8) fails.
    pub fn cut(&self) -> anyhow::Result<()> {
        self.network.set_port(&self.host, Port::Drops)
    }

    /// Mends what [`Self::cut`] cut.
    ///
    /// # Errors
    /// When bridge(8) fails.
    pub fn mend(&self) -> anyhow::Result<()> {
        self.network.set_port(&self.host, Port::Forwards)
    }

    /// Posts a command to the control socket: `/readyz/503`, `/readyz/pause`, `/readyz/resume`, `/delay/800`,
    /// `/misbehave/garbage`. Returns the counters.
    ///
    /// # Errors
    /// When the command is unknown, or the process does not answer.
    pub fn control(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("POST", path)
    }

    /// `{"accepted", "open", "requests": {path: n}}` since it was started.
    ///
    /// # Errors
    /// When the process does not answer.
    pub fn stats(&self) -> anyhow::Result<Value> {
        self.ask("GET", "/stats")
    }

    fn ask(&self, method: &str, path: &str) -> anyhow::Result<Value> {
        let response = unix_http::request(&self.socket(), method, path, "")?;
        ensure!(response.status == 200, "{method} {path} to {}: {}", self.name, response.body.trim());
        serde_json::from_str(&response.body).with_context(|| format!("read {}'s counters", self.name))
    }

    fn arguments(&self, launch: Launch) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--name".into(), self.name.clone().into()];
        for address in self.host.sockets(PORT) {
            arguments.extend(["--listen".into(), address.to_string().into()]);
        }
        arguments.extend(["--control".into(), self.socket().into()]);
        if launch.plain {
            arguments.push("--plain".into());
        } else {
            let issued = match launch.signer {
                Signer::Lab => &self.trusted,
                Signer::Other => &self.untrusted,
            };
            let files = [&issued.cert, &issued.key].map(OsString::from);
            arguments.extend(["--cert".into(), files[0].clone(), "--key".into(), files[1].clone()]);
            arguments.extend(["--client-ca".into(), self.client_ca.clone().into()]);
        }
        let delay = launch.shutdown_delay.as_millis();
        arguments.extend(["--shutdown-delay".into(), format!("{delay}ms").into()]);
        if let Some(value) = launch.misbehaviour.to_possible_value() {
            arguments.extend(["--misbehave".into(), value.get_name().into()]);
        }
        arguments
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(format!("{}.sock", self.name))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.slot().as_ref().with_context(|| format!("signal {}: it does not run", self.name))?.signal(signal)
    }

    fn take(&self) -> anyhow::Result<Proc> {
        self.slot().take().with_context(|| format!("end {}: it does not run", self.name))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Proc>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
