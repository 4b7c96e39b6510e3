//! Watching over a backend that owes an answer: does its host say anything at all?
//!
//! The kernel of a host acknowledges what a hung process does not answer. Whether it has is seen in the connection that
//! the question was asked on. Where it has not, the backend's port is knocked at: a TCP connect that ends when it is
//! answered, or refused. Knocks are the cheapest packets that any network lets pass, and there are several, because
//! networks lose some.
//!
//! Only a process sends data, so data that any connection of this host received from the backend meanwhile says more: it
//! does not hang. Connections of pods, and those through IPVS, whose peer is the VIP, are not seen here.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_core::probe::{HostSign, Silence};
use tokio::{net::TcpStream, task::JoinSet, time};

use crate::os::{sockdiag::SockDiag, source_port};

/// From one look at a silent backend to the next.
const PACE: Duration = Duration::from_millis(50);
/// From one knock to the next in the beginning: where a fifth of all packets is lost, of eight that need an answer all
/// are lost once in 3,500 times.
const BURST_PACE: Duration = Duration::from_millis(25);
const BURST: u32 = 8;
/// The most knocks in one silence, and so the most that are open at once.
const KNOCKS: u32 = 24;
/// From one look at everybody's connections to the next: it takes the kernel a walk through all of them.
const EVERYBODY_PACE: Duration = Duration::from_millis(200);
/// Who was heard of so long ago may have gone since. Longer than a TCP segment takes that is lost twice.
const RECENT: Duration = Duration::from_secs(1);
/// After this a silence is no news: probes go on, and give the verdict.
const LONGEST: Duration = Duration::from_secs(10);

/// Which sockets that seem to talk to a backend talk to another one: those that a dataplane has sent on.
#[derive(Clone, Default)]
pub struct Mistaken(Option<Arc<MistakenFn>>);

type MistakenFn = dyn Fn(SocketAddr) -> BTreeSet<SocketAddr> + Send + Sync;

impl Mistaken {
    /// Asks this for the sockets' own ends, given the backend that they seem to talk to.
    pub fn by(ask: impl Fn(SocketAddr) -> BTreeSet<SocketAddr> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    fn of(&self, backend: SocketAddr) -> BTreeSet<SocketAddr> {
        self.0.as_ref().map(|ask| ask(backend)).unwrap_or_default()
    }
}

impl fmt::Debug for Mistaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mistaken")
    }
}

/// What is known about a backend's silence, while there is one.
pub(super) struct Vigil {
    address: SocketAddr,
    mistaken: Mistaken,
    silence: Option<Watch>,
}

struct Watch {
    since: Instant,
    /// Our end of the connection that was asked on.
    own: Option<SocketAddr>,
    acknowledged: bool,
    knocks: JoinSet<bool>,
    answered: bool,
    packets: u32,
    next: time::Instant,
    /// When the backend was last heard on anybody's connection, if it was during the silence.
    heard: Option<Instant>,
    next_everybody: Instant,
}

impl Vigil {
    pub(super) fn new(address: SocketAddr, mistaken: Mistaken) -> Self {
        Self { address, mistaken, silence: None }
    }

    /// Something was asked at `since`, from `own` where that is an old connection, and the answer is missed. Nothing
    /// changes if one was missed already.
    pub(super) fn begin(&mut self, since: Instant, own: Option<SocketAddr>) {
        self.silence.get_or_insert_with(|| Watch {
            since,
            own,
            acknowledged: false,
            knocks: JoinSet::new(),
            answered: false,
            // What was asked.
            packets: 1,
            next: time::Instant::now(),
            heard: None,
            next_everybody: Instant::now(),
        });
    }

    /// The backend has answered. Returns since when it was silent.
    pub(super) fn end(&mut self) -> Option<Instant> {
        self.silence.take().map(|watch| watch.since)
    }

    /// Waits until there is something to tell; for ever while nothing is missed. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Silence {
        loop {
            let Some(watch) = &mut self.silence else { std::future::pending().await };
            tokio::select! {
                biased;
                Some(knock) = watch.knocks.join_next() => watch.answered |= knock.unwrap_or(false),
                () = time::sleep_until(watch.next) => {
                    if watch.since.elapsed() < LONGEST {
                        return watch.look(self.address, &self.mistaken);
                    }
                    self.silence = None;
                }
            }
        }
    }
}

impl Watch {
    fn look(&mut self, address: SocketAddr, mistaken: &Mistaken) -> Silence {
        self.acknowledged |= self.own.is_some_and(|own| is_acknowledged(own, address));
        self.listen(address, mistaken);
        let heard = self.heard.filter(|heard| heard.elapsed() < RECENT);
        let host = match (heard, self.acknowledged, self.answered) {
            (Some(heard), ..) => HostSign::Serving { heard },
            (None, true, _) => HostSign::Acknowledged,
            // Nothing was asked on a connection that might have lost it.
            (None, false, true) if self.own.is_none() => HostSign::Acknowledged,
            (None, false, true) => HostSign::Lossy,
            (None, false, false) => HostSign::Nothing { packets: self.packets },
        };
        let is_silent = heard.is_none() && !self.acknowledged && !self.answered;
        if is_silent && self.packets <= KNOCKS {
            self.packets += 1;
            self.knocks.spawn(knock(address));
        }
        let pace = if is_silent && self.packets <= BURST { BURST_PACE } else { PACE };
        self.next = time::Instant::now() + pace;
        Silence { since: self.since, host }
    }

    fn listen(&mut self, address: SocketAddr, mistaken: &Mistaken) {
        let now = Instant::now();
        if now < self.next_everybody {
            return;
        }
        self.next_everybody = now + EVERYBODY_PACE;
        let time = now.saturating_duration_since(self.since);
        if let Some(ago) = last_heard(address, time, &mistaken.of(address)) {
            self.heard = now.checked_sub(ago);
        }
    }
}

/// How long ago somebody heard of the backend, if somebody did within that time.
fn last_heard(address: SocketAddr, time: Duration, but: &BTreeSet<SocketAddr>) -> Option<Duration> {
    SockDiag::open().and_then(|diag| diag.last_heard(address, time, but)).unwrap_or_else(|error| {
        tracing::debug!(%error, "failed to look at the connections to a silent backend");
        None
    })
}

/// Whether the peer's kernel has taken everything that was sent on a connection. One that is gone says nothing.
pub(super) fn is_acknowledged(own: SocketAddr, peer: SocketAddr) -> bool {
    let progress = SockDiag::open().and_then(|diag| diag.progress(own, peer));
    match progress {
        Ok(progress) => progress.is_some_and(|progress| progress.unacknowledged == 0),
        Err(error) => {
            tracing::debug!(%error, "failed to look at the connection to a silent backend");
            false
        }
    }
}

/// Whether the host answered. The connection is reset, so that nobody has to close it.
async fn knock(address: SocketAddr) -> bool {
    match source_port::connect(address).await {
        Ok(stream) => {
            reset(&stream);
            true
        }
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
        ),
    }
}

fn reset(stream: &TcpStream) {
    // Where it fails the connection is closed in the usual way.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    async fn server() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn nth(vigil: &mut Vigil, count: usize) -> HostSign {
        let mut host = None;
        for _ in 0..count {
            host = Some(time::timeout(Duration::from_secs(5), vigil.next()).await.unwrap().host);
        }
        host.unwrap()
    }

    #[tokio::test]
    async fn nothing_is_told_before_an_answer_is_missed_and_after_it_came() {
        let (_listener, address) = server().await;
        let mut vigil = Vigil::new(address, Mistaken::default());
        let quiet = Duration::from_millis(200);
        assert!(time::timeout(quiet, vigil.next()).await.is_err());
        vigil.begin(Instant::now(), None);
        nth(&mut vigil, 1).await;
        vigil.end();
        assert!(time::timeout(quiet, vigil.next()).await.is_err());
    }

    #[tokio::test]
    async fn a_host_that_answers_a_knock_is_there() {
        let (listener, address) = server().await;
        let mut vigil = Vigil::new(address, Mistaken::default());
        vigil.begin(Instant::now(), None);
        assert_eq!(nth(&mut vigil, 1).await, HostSign::Nothing { packets: 1 });
        assert_eq!(nth(&mut vigil, 2).await, HostSign::Acknowledged);
        let (mut knocked, _) = listener.accept().await.unwrap();
        let ended = knocked.read(&mut [0]).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_the_hosts_kernel_took_is_seen_in_the_connection() {
        let (_listener, address) = server().await;
        let stream = TcpStream::connect(address).await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(b"a question").unwrap();
        let mut vigil = Vigil::new(address, Mistaken::default());
        vigil.begin(Instant::now(), Some(stream.local_addr().unwrap()));
        time::sleep(Duration::from_millis(20)).await;
        assert_eq!(nth(&mut vigil, 1).await, HostSign::Acknowledged);
        assert_eq!(vigil.silence.unwrap().packets, 1, "nobody knocks");
    }

    /// A stand-in that sends something on the connection that it accepts.
    async fn talks() -> (TcpStream, TcpListener, SocketAddr) {
        let (listener, address) = server().await;
        let stream = TcpStream::connect(address).await.unwrap();
        (stream, listener, address)
    }

    #[tokio::test]
    async fn what_another_backend_says_on_a_connection_that_was_sent_on_is_no_sign_of_this_one() {
        let (stream, listener, address) = talks().await;
        let (peer, _) = listener.accept().await.unwrap();
        let own = stream.local_addr().unwrap();
        for (mistaken, heard) in [(Mistaken::default(), true), (Mistaken::by(move |_| [own].into()), false)] {
            let mut vigil = Vigil::new(address, mistaken);
            vigil.begin(Instant::now(), None);
            time::sleep(Duration::from_millis(60)).await;
            peer.try_write(b"something").unwrap();
            let mut signs = Vec::new();
            for _ in 0..8 {
                signs.push(nth(&mut vigil, 1).await);
            }
            let is_heard = signs.iter().any(|sign| matches!(sign, HostSign::Serving { .. }));
            assert_eq!(is_heard, heard, "{signs:?}");
        }
    }
}
