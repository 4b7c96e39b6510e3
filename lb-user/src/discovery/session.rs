//! One connection to one apiserver: a watch where that is allowed, else a look from time to time.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use lb_core::{
    config::KubernetesDiscovery,
    discovery::{ListError, News, Slices, from_endpoints},
};
use rustls::pki_types::ServerName;
use tokio::{task::AbortHandle, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    follower::Lists,
    identity::{Identity, IdentityError},
    lines::Lines,
};
use crate::os::source_port;

/// The list that kubelets may read without further permission.
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
/// The same as slices, with a watch, for whom `lbctl manifest rbac` was applied.
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices\
                      ?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

/// Connecting, and each answer but a watch's.
const ANSWER: Duration = Duration::from_secs(5);
/// One connection. Then another apiserver is asked, by chance, so that nodes do not gather at one.
const SESSION: Duration = Duration::from_secs(600);
/// So often at most a line of a watch is looked at: what comes faster waits in the sockets.
const LINE_PACE: Duration = Duration::from_millis(20);
/// From the end of a watch to the next list: one that ends at once, again and again, costs no more than that.
const RELIST: Duration = Duration::from_secs(1);
/// Looks without asking whether a watch is allowed by now, after it was not.
const LOOKS: u32 = 3;
/// The longest answer, and the longest line of a watch, in bytes: 1,000 addresses have some 200 KiB.
const BODY_MAX: usize = 1 << 20;

/// Why a connection to an apiserver was given up.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The kubeconfig cannot be used.
    #[error("use the kubeconfig")]
    Identity(#[from] IdentityError),
    /// No connection.
    #[error("connect to {address}")]
    Connect {
        /// Whom.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// HTTP went wrong.
    #[error("ask {address}")]
    Http {
        /// Whom.
        address: SocketAddr,
        /// The cause.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("no answer from {address} within {ANSWER:?}")]
    Late {
        /// Who.
        address: SocketAddr,
    },
    /// The apiserver refused.
    #[error("{address} answered {status}{}", hint(*status))]
    Refused {
        /// Who.
        address: SocketAddr,
        /// With what.
        status: StatusCode,
    },
    /// An answer without end, or a line of a watch.
    #[error("{address} answered with more than {BODY_MAX} bytes")]
    TooLong {
        /// Who.
        address: SocketAddr,
    },
    /// The answer is no list.
    #[error("understand {address}")]
    List {
        /// Who.
        address: SocketAddr,
        /// The cause.
        source: ListError,
    },
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "; hint: the kubeconfig's certificate or token is not accepted, or has expired"
        }
        StatusCode::FORBIDDEN => "; hint: its user must be allowed to get endpoints in the namespace default",
        _ => "",
    }
}

/// Reads the list again and again and hands each on, until [`SESSION`] is over.
pub(super) async fn run(
    settings: &KubernetesDiscovery,
    address: SocketAddr,
    lists: &mut Lists,
) -> Result<(), SessionError> {
    let mut session = Session::open(&settings.kubeconfig, address).await?;
    let end = Instant::now() + SESSION.mul_f64(0.75 + fastrand::f64() / 2.0);
    while Instant::now() < end {
        match session.list().await? {
            Some(slices) => {
                lists.take(slices.addresses()).await;
                match session.watch(slices, settings.interval, lists).await? {
                    Watched::Ended => {}
                    Watched::Abandoned => return Ok(()),
                }
                tokio::time::sleep(RELIST.mul_f64(0.5 + fastrand::f64())).await;
            }
            None => {
                let body = session.get(ENDPOINTS).await?;
                let listed =
                    from_endpoints(&body).map_err(|source| SessionError::List { address, source })?;
                lists.take(listed).await;
                tokio::time::sleep(settings.interval.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
            }
        }
    }
    Ok(())
}

/// How a watch went.
enum Watched {
    /// It ended as it should, and the connection can be used again.
    Ended,
    /// It did not.
    Abandoned,
}

struct Session {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    authorization: Option<HeaderValue>,
    host: String,
    connection: AbortHandle,
    /// Looks until a watch is asked for again.
    looks: u32,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    async fn open(kubeconfig: &Path, address: SocketAddr) -> Result<Self, SessionError> {
        let failed = |source| SessionError::Connect { address, source };
        let kubeconfig = kubeconfig.to_owned();
        let identity = tokio::task::spawn_blocking(move || Identity::load(&kubeconfig))
            .await
            .map_err(|error| failed(io::Error::other(error)))??;
        let Identity { tls, server_name, token } = identity;
        let name = match &server_name {
            Some(name) => {
                ServerName::try_from(name.clone()).map_err(|error| failed(io::Error::other(error)))?
            }
            None => ServerName::from(address.ip()),
        };
        let connect = async {
            let stream = source_port::connect(address).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&tls)).connect(name, stream).await
        };
        let stream =
            timeout(ANSWER, connect).await.map_err(|_| SessionError::Late { address })?.map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| SessionError::Http { address, source })?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection for discovery ended: {error}");
            }
        });
        let authorization = token.and_then(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let host = server_name.unwrap_or_else(|| address.ip().to_string());
        Ok(Self { address, sender, authorization, host, connection: task.abort_handle(), looks: 0 })
    }

    /// The list as slices; `None`: that is not allowed, or the cluster has none.
    async fn list(&mut self) -> Result<Option<Slices>, SessionError> {
        if self.looks > 0 {
            self.looks -= 1;
            return Ok(None);
        }
        match self.get(SLICES).await {
            Ok(body) => {
                let address = self.address;
                Slices::from_list(&body).map(Some).map_err(|source| SessionError::List { address, source })
            }
            Err(SessionError::Refused { status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, .. }) => {
                self.looks = LOOKS;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Follows the list for about `time`, or until the watch ends by itself.
    async fn watch(
        &mut self,
        mut slices: Slices,
        time: Duration,
        lists: &mut Lists,
    ) -> Result<Watched, SessionError> {
        let address = self.address;
        let seconds = time.mul_f64(0.75 + fastrand::f64() / 2.0).as_secs().max(1);
        let path = format!(
            "{SLICES}&watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            slices.version()
        );
        let mut body = self.ask(&path).await?;
        let mut end = tokio::time::Instant::now() + Duration::from_secs(seconds) + ANSWER;
        let (mut lines, mut over) = (Lines::default(), false);
        loop {
            let Ok(frame) = tokio::time::timeout_at(end, body.frame()).await else {
                return Ok(Watched::Abandoned);
            };
            let Some(frame) = frame else { return Ok(Watched::Ended) };
            let frame = frame.map_err(|source| SessionError::Http { address, source })?;
            lines.push(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(line) = lines.next().filter(|_| !over) {
                match slices.take(&line).map_err(|source| SessionError::List { address, source })? {
                    News::Changed => lists.take(slices.addresses()).await,
                    News::Bookmark => {}
                    News::Over(why) => {
                        tracing::debug!(%address, why, "the watch is over; the list is read anew");
                        // Its end is read, so that the connection can be used again.
                        (over, end) = (true, tokio::time::Instant::now() + ANSWER);
                    }
                }
                tokio::time::sleep_until(end.min(tokio::time::Instant::now() + LINE_PACE)).await;
                if tokio::time::Instant::now() >= end {
                    return Ok(Watched::Abandoned);
                }
            }
            if lines.rest() > BODY_MAX {
                return Err(SessionError::TooLong { address });
            }
        }
    }

    async fn get(&mut self, path: &str) -> Result<Bytes, SessionError> {
        let address = self.address;
        let body = self.ask(path).await?;
        let whole = timeout(ANSWER, Limited::new(body, BODY_MAX).collect());
        match whole.await.map_err(|_| SessionError::Late { address })? {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(source) => SessionError::Http { address, source: *source },
                Err(_) => SessionError::TooLong { address },
            }),
        }
    }

    async fn ask(&mut self, path: &str) -> Result<Incoming, SessionError> {
        let address = self.address;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.host) {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("lbctl/", env!("CARGO_PKG_VERSION"))),
        );
        headers.extend(self.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
        let ask = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let answer = timeout(ANSWER, ask).await.map_err(|_| SessionError::Late { address })?;
        let answer = answer.map_err(|source| SessionError::Http { address, source })?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(SessionError::Refused { address, status }),
        }
    }
}
