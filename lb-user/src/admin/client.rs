use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use lb_core::{
    config::ConfigDuration,
    model::Admin,
    operator::OperatorRequest,
    view::{
        BackendView, BackendsView, StatusView,
        connections::{ConnectionFilter, ConnectionTableView},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{
    query,
    route::{ONLY_SERVICE, encoded},
    socket::PATH_MAX,
    wire::{Addition, ApiError, Change, ErrorBody},
};

/// The longest that a call may take. The agent answers in milliseconds, and gives up on its own loop after 4 s.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer: 64 services of 64 backends, each under 1 KiB, and as much again for reasons. 10,000 connections have
/// less.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Why the agent could not be asked, or what it said instead.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody listens on it.
    #[error("no agent listens on {}; hint: is the agent running? systemctl status lbctl", path.display())]
    NotRunning {
        /// The admin socket.
        path: PathBuf,
    },
    /// The socket belongs to root.
    #[error("no permission to open {}; hint: run as root", path.display())]
    PermissionDenied {
        /// The admin socket.
        path: PathBuf,
    },
    /// The kernel has no room for such a path.
    #[error("admin socket path {} has {length} bytes, {} is the most", path.display(), PATH_MAX)]
    PathTooLong {
        /// The admin socket.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// The agent refused.
    #[error("{error}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// What the agent says.
        error: ApiError,
    },
    /// No answer in time.
    #[error("the agent on {} did not answer within {} s; hint: see the agent's log", path.display(), after.as_secs())]
    Timeout {
        /// The admin socket.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The socket could not be opened for another reason.
    #[error("failed to connect to {}", path.display())]
    Connect {
        /// The admin socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What listens there does not speak as an agent does, or stopped in the middle.
    #[error("no usable answer from {}: {why}; hint: is it an agent of the same version?", path.display())]
    BadAnswer {
        /// The admin socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Asks the agent behind an admin socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    deadline: Duration,
}

impl Client {
    /// A client of the agent on this socket. Connects with each call.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), deadline: DEADLINE }
    }

    /// The same client with another patience than 5 s.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The admin socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything about the agent.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.call(Method::GET, "/v1/status", Bytes::new()).await
    }

    /// Every service with its backends.
    pub async fn backends(&self) -> Result<BackendsView, ClientError> {
        self.call(Method::GET, "/v1/backends", Bytes::new()).await
    }

    /// The connections that the kernel translates packet by packet.
    pub async fn connections(&self, filter: &ConnectionFilter) -> Result<ConnectionTableView, ClientError> {
        self.call(Method::GET, &query::path(filter), Bytes::new()).await
    }

    /// Changes a backend; the answer is the backend as it is now, or as it was before it was removed.
    pub async fn operate(&self, request: OperatorRequest) -> Result<BackendView, ClientError> {
        let service = request.service().map_or(ONLY_SERVICE, |name| name.as_str());
        let address = encoded(&request.address().to_string());
        let path = format!("/v1/services/{service}/backends/{address}");
        let (method, body) = match request {
            OperatorRequest::SetAdmin { admin, .. } => {
                (Method::PATCH, self.body(&Change { admin: Some(admin), ..Change::default() })?)
            }
            OperatorRequest::Drain { timeout, .. } => {
                let timeout = Some(ConfigDuration::from(timeout).to_string());
                let change = Change { admin: Some(Admin::Draining), timeout, ..Change::default() };
                (Method::PATCH, self.body(&change)?)
            }
            OperatorRequest::SetWeight { weight, .. } => {
                (Method::PATCH, self.body(&Change { weight: Some(weight), ..Change::default() })?)
            }
            OperatorRequest::Add { weight, .. } => (Method::PUT, self.body(&Addition { weight })?),
            OperatorRequest::Remove { .. } => (Method::DELETE, Bytes::new()),
        };
        self.call(method, &path, body).await
    }

    fn body(&self, value: &impl Serialize) -> Result<Bytes, ClientError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| self.bad(error))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "lbctl")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.bad(error))?;
        let (status, answer) = tokio::time::timeout(self.deadline, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout { path: self.path.clone(), after: self.deadline })??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| self.bad(error));
        }
        let ErrorBody { error } = serde_json::from_slice(&answer)
            .map_err(|error| self.bad(format!("status {status} with {error}")))?;
        Err(ClientError::Api { status: status.as_u16(), error })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.bad(error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| self.bad(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect();
            Ok((status, body.await.map_err(|error| self.bad(error))?.to_bytes()))
        };
        // The connection must be driven for the answer to come; an error of its own shows in the answer too.
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let path = self.path.clone();
        let length = path.as_os_str().as_bytes().len();
        if length > PATH_MAX {
            return Err(ClientError::PathTooLong { path, length });
        }
        UnixStream::connect(&self.path).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { path },
            io::ErrorKind::PermissionDenied => ClientError::PermissionDenied { path },
            _ => ClientError::Connect { path, source },
        })
    }

    fn bad(&self, why: impl ToString) -> ClientError {
        ClientError::BadAnswer { path: self.path.clone(), why: why.to_string() }
    }
}
