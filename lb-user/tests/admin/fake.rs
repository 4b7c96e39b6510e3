//! An agent that has no dataplane and no probes: one service, and answers by rule.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lb_core::{
    model::{Admin, ConnectionState, DataplaneKind, Health, Policy, Scope, Source},
    operator::{OperatorError, OperatorRequest},
    view::{
        connections::{
            CapacityView, Collector, Connection, ConnectionFilter, ConnectionTableView, CountedView,
            DroppedView, Table,
        },
        *,
    },
};
use lb_user::admin::{
    AdminServer, Agent, Client, Connections, Limits, MetricsServer, OperatorCall, Refresh, Snapshot,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Far more than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn backend(address: &str) -> BackendView {
    BackendView {
        address: address.parse().unwrap(),
        source: Source::Config,
        admin: Admin::Active,
        health: Health::Up,
        serving: true,
        reason: None,
        since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        weight: 1,
        local: false,
        connections: ConnectionsView::default(),
        probe: ProbeView { latency_ms: Some(0.8), failures: 0 },
    }
}

pub fn status() -> StatusView {
    let started = "2026-01-02T03:04:05Z".parse().unwrap();
    StatusView {
        agent: AgentView {
            version: "0.1.0".to_owned(),
            pid: 4242,
            started,
            config: None,
            config_loaded: started,
            config_error: None,
        },
        dataplane: DataplaneView {
            kind: DataplaneKind::Socket,
            kinds: vec![DataplaneKind::Socket],
            why: "asked for".to_owned(),
            scope: Scope::Host,
            effective: true,
            error: None,
            facts: vec![],
        },
        hosts: HostsView { path: "/etc/hosts".into(), manage: true, in_place: true, error: None },
        services: vec![ServiceView {
            name: "apiserver".parse().unwrap(),
            vip: "10.103.97.2:6443".parse().unwrap(),
            hostname: None,
            dataplane: DataplaneKind::Socket,
            dataplanes: vec![DataplaneKind::Socket],
            policy: Policy::Random,
            backends: vec![backend("192.168.0.2:6443"), backend("[fd00::2]:6443")],
        }],
        transitions: vec![],
        warnings: vec![],
    }
}

pub fn transition() -> TransitionView {
    TransitionView {
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        service: "apiserver".parse().unwrap(),
        address: "192.168.0.2:6443".parse().unwrap(),
        from: Health::Up,
        to: Health::Dead,
        reason: Some("line\nbreak".to_owned()),
    }
}

/// What a refresh finds in the kernel.
fn count(status: &mut StatusView) {
    for backend in status.services.iter_mut().flat_map(|s| &mut s.backends) {
        backend.connections = ConnectionsView { active: 3, total: 120, refused: 2 };
    }
}

/// A table with three connections: one is open, one was rescued, and one is of no service.
fn list(filter: &ConnectionFilter, services: &[ServiceView]) -> Result<ConnectionTableView, String> {
    let mut collector = Collector::new(filter, services);
    for (port, vip, rescued) in
        [(1, "10.103.97.2:6443", false), (2, "192.168.0.2:6443", true), (3, "10.9.9.9:1", false)]
    {
        collector.take(Connection {
            client: ([10, 244, 0, 7], port).into(),
            vip: vip.parse().unwrap(),
            backend: "[fd00::2]:6443".parse().unwrap(),
            port: 61_000 + port,
            state: ConnectionState::Open,
            host: false,
            rescued,
            age: Duration::from_secs(7860),
            idle: Duration::from_secs(4),
        });
    }
    Ok(collector.finish(Some(Table {
        dropped: DroppedView { full: 5, ..DroppedView::default() },
        counted: CountedView { begun: 9, opened: 8, rescued: 1, fast_packets: 0 },
        capacity: CapacityView { open: 16_384, opening: 8192 },
    })))
}

/// Answers as an agent would: 192.168.0.2 and fd00::2 are from the config, everything else is unknown.
fn decide(request: &OperatorRequest) -> Result<BackendView, OperatorError> {
    let service = request.service().cloned().unwrap_or_else(|| "apiserver".parse().unwrap());
    let address = request.address();
    if service.as_str() != "apiserver" {
        return Err(OperatorError::UnknownService {
            name: service,
            known: vec!["apiserver".parse().unwrap()],
        });
    }
    let known = backend(&address.to_string());
    match request {
        OperatorRequest::Add { weight, .. } => {
            Ok(BackendView { weight: *weight, source: Source::Runtime, ..known })
        }
        OperatorRequest::Remove { .. } => Err(OperatorError::FromConfig { service, address }),
        _ if address.port() != 6443 => Err(OperatorError::UnknownBackend { service, address }),
        OperatorRequest::Drain { .. } => Ok(BackendView { admin: Admin::Draining, ..known }),
        OperatorRequest::SetAdmin { admin, .. } => Ok(BackendView { admin: *admin, ..known }),
        OperatorRequest::SetWeight { weight, .. } => Ok(BackendView { weight: *weight, ..known }),
    }
}

/// The channels of an agent's loop.
pub struct Loop {
    pub snapshots: watch::Sender<Snapshot>,
    pub operators: mpsc::Receiver<OperatorCall>,
    pub transitions: broadcast::Sender<TransitionView>,
}

pub fn channels(refresh: Refresh) -> (Agent, Loop) {
    let (snapshots, snapshot) = watch::channel(Snapshot { status: Arc::new(status()), ready: true });
    let (operator, operators) = mpsc::channel(4);
    let (transitions, _) = broadcast::channel(4);
    let agent = Agent::new(snapshot, operator, transitions.clone(), refresh).listing(Arc::new(list));
    (agent, Loop { snapshots, operators, transitions })
}

/// A running server with a fake agent behind it.
pub struct Fake {
    pub dir: TempDir,
    pub snapshots: watch::Sender<Snapshot>,
    pub transitions: broadcast::Sender<TransitionView>,
    asked: mpsc::UnboundedReceiver<OperatorRequest>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Fake {
    pub fn start() -> Self {
        Self::start_with(Limits::default(), Arc::new(count))
    }

    pub fn start_with(limits: Limits, refresh: Refresh) -> Self {
        Self::serve(limits, channels(refresh))
    }

    /// With a table of connections that is read by this.
    pub fn listing(limits: Limits, list: Connections) -> Self {
        let (agent, agent_loop) = channels(Arc::new(count));
        Self::serve(limits, (agent.listing(list), agent_loop))
    }

    fn serve(limits: Limits, (agent, agent_loop): (Agent, Loop)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let Loop { snapshots, mut operators, transitions } = agent_loop;
        let server = AdminServer::bind(&socket_in(&dir), agent, limits).unwrap();
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(OperatorCall { request, reply }) = operators.recv().await {
                let _ = reply.send(decide(&request));
                let _ = asks.send(request);
            }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { dir, snapshots, transitions, asked, stop, server }
    }

    pub fn socket(&self) -> PathBuf {
        socket_in(&self.dir)
    }

    pub fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// The next request that reached the agent.
    pub async fn asked(&mut self) -> OperatorRequest {
        timeout(PATIENCE, self.asked.recv()).await.unwrap().unwrap()
    }

    pub fn change(&self, change: impl FnOnce(&mut StatusView)) {
        self.snapshots.send_modify(|snapshot| change(Arc::make_mut(&mut snapshot.status)));
    }

    /// One request without a body.
    pub async fn get(&self, method: &str, path: &str) -> String {
        self.send(method, path, "").await
    }

    /// One request with a body.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: lbctl\r\nContent-Length: {length}\r\n\r\n");
        exchange(&self.socket(), &format!("{head}{body}")).await
    }

    /// Stops as on SIGTERM and waits for the end.
    pub async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.server).await.unwrap().unwrap();
        self.dir
    }
}

pub fn socket_in(dir: &TempDir) -> PathBuf {
    dir.path().join("run/lbctl.sock")
}

/// Sends text as it is and reads until the server closes.
pub async fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    String::from_utf8(answer).unwrap()
}

/// A metrics listener on a port of the kernel's choice, and one GET to it.
pub async fn scrape(agent: Agent, method: &str, path: &str) -> String {
    let address = "127.0.0.1:0".parse().unwrap();
    let server = MetricsServer::bind(address, agent, Limits::default()).await.unwrap();
    let address = server.address();
    let server = tokio::spawn(server.run(std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: lbctl\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    server.abort();
    answer
}

pub fn code(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

pub fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(body(answer)).unwrap()
}
