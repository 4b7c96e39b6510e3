//! `metrics.listen`: what Prometheus scrapes, and a page for people. Read only, and nothing secret: anybody who
//! can reach the address may look.

mod exposition;
mod page;

use std::{io, net::SocketAddr};

use hyper::{Request, Response, StatusCode, body::Incoming, header::HeaderValue};
use jiff::Timestamp;
use lb_core::view::connections::ConnectionFilter;
use tokio::net::TcpListener;

use super::{
    Agent, Limits,
    body::{Body, healthz, readyz, refused, text},
    route::{RouteError, read_only},
    serve::{Handler, serve},
    wire::Refusal,
};

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address is taken, or is not this host's.
    #[error(
        "failed to listen on {address} for metrics: {cause}; hint: set metrics.listen to another address, or to off"
    )]
    Listen {
        /// `metrics.listen`.
        address: SocketAddr,
        /// Why not.
        cause: io::Error,
    },
}

/// `GET /metrics`, `/`, `/healthz` and `/readyz` over TCP.
pub struct MetricsServer {
    listener: TcpListener,
    site: Site,
    address: SocketAddr,
}

impl MetricsServer {
    /// Listens on `address`; from then on clients can connect.
    pub async fn bind(address: SocketAddr, agent: Agent, limits: Limits) -> Result<Self, MetricsError> {
        let failed = |cause| MetricsError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, site: Site { agent, limits }, address })
    }

    /// Where it listens: with the port that the kernel chose, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is ready, then closes every connection.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let limits = self.site.limits;
        serve(&self.listener, self.site, limits, stop).await;
    }
}

struct Site {
    agent: Agent,
    limits: Limits,
}

impl Handler for Site {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Err(error) = read_only(request.method()) {
            return refused(&Refusal::Route(error));
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/" => self.page().await,
            "/healthz" => healthz(&self.agent),
            "/readyz" => readyz(&self.agent),
            path => refused(&Refusal::Route(RouteError::NoSuchPath { path: path.to_owned() })),
        }
    }
}

impl Site {
    async fn metrics(&self) -> Response<Body> {
        let status = self.agent.status(self.limits.counters).await;
        let connections = self.agent.connections(ConnectionFilter::COUNTS, self.limits.counters).await;
        let written = exposition::written(&status, connections.ok().as_ref());
        text(StatusCode::OK, exposition::CONTENT_TYPE, written)
    }

    async fn page(&self) -> Response<Body> {
        let status = self.agent.status(self.limits.counters).await;
        let html = page::html(&status, Timestamp::now());
        let mut response = text(StatusCode::OK, "text/html; charset=utf-8", html);
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        response.headers_mut().insert("content-security-policy", policy);
        response
    }
}
