use std::{net::SocketAddr, path::Path, sync::Arc};

use http_body_util::Either;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use lb_core::{
    config::ConfigDuration,
    model::{Admin, ServiceName},
    operator::OperatorRequest,
    view::{BackendView, BackendsView},
};
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixListener,
    sync::{Semaphore, oneshot},
    time::{Instant, timeout_at},
};
use tracing::info;

use super::{
    Agent, Limits, OperatorCall,
    body::{Body, healthz, json, read, readyz, refused},
    events::EventBody,
    query,
    route::{Action, Route, route},
    serve::{Handler, serve},
    socket::{BindError, SocketFile, bound},
    wire::{Addition, Change, Refusal},
};

/// The admin API: HTTP/1.1 with JSON on a unix socket that only its owner can open.
pub struct AdminServer {
    listener: UnixListener,
    file: SocketFile,
    api: Api,
}

impl AdminServer {
    /// Makes the socket; from then on clients can connect. Must be called within a tokio runtime.
    pub fn bind(path: &Path, agent: Agent, limits: Limits) -> Result<Self, BindError> {
        let (listener, file) = bound(path)?;
        let listener = UnixListener::from_std(listener).map_err(|source| BindError::Os {
            step: "register",
            path: path.to_owned(),
            source,
        })?;
        let streams = Arc::new(Semaphore::new(limits.streams));
        Ok(Self { listener, file, api: Api { agent, limits, streams } })
    }

    /// Answers until `stop` is ready, then closes every connection and removes the socket.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, file, api } = self;
        let limits = api.limits;
        serve(&listener, api, limits, stop).await;
        drop(file);
    }
}

struct Api {
    agent: Agent,
    limits: Limits,
    streams: Arc<Semaphore>,
}

impl Handler for Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.try_answer(request).await.unwrap_or_else(|refusal| refused(&refusal))
    }
}

impl Api {
    async fn try_answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        match route(request.method(), request.uri().path())? {
            Route::Healthz => Ok(healthz(&self.agent)),
            Route::Readyz => Ok(readyz(&self.agent)),
            Route::Events => self.events(),
            Route::Status => json(StatusCode::OK, &self.agent.status(self.limits.counters).await),
            Route::Backends => {
                let services = self.agent.status(self.limits.counters).await.services;
                json(StatusCode::OK, &BackendsView { services })
            }
            Route::Connections => {
                let filter = query::filter(request.uri().query())?;
                json(StatusCode::OK, &self.agent.connections(filter, self.limits.agent).await?)
            }
            Route::Backend { service, address, action } => {
                let body = read(request.into_body(), self.limits.read).await?;
                self.operate(wishes(service, address, action, &body)?).await
            }
        }
    }

    fn events(&self) -> Result<Response<Body>, Refusal> {
        let place = self.streams.clone().try_acquire_owned();
        let place = place.map_err(|_| Refusal::TooManyStreams { most: self.limits.streams })?;
        let transitions = self.agent.transitions.subscribe();
        let body = EventBody::start(transitions, self.limits.keep_alive, place);
        let mut response = Response::new(Either::Right(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// Hands the wishes to the agent, one after the other, and answers with what came of the last.
    async fn operate(
        &self,
        (done, wishes): (StatusCode, Vec<OperatorRequest>),
    ) -> Result<Response<Body>, Refusal> {
        let deadline = Instant::now() + self.limits.agent;
        let mut backend = None;
        for wish in wishes {
            info!(request = ?wish, "an operator asks");
            backend = Some(self.ask(wish, deadline).await?);
        }
        json(done, &backend.ok_or(Refusal::NothingToChange)?)
    }

    async fn ask(&self, request: OperatorRequest, deadline: Instant) -> Result<BackendView, Refusal> {
        let (reply, answer) = oneshot::channel();
        let call = OperatorCall { request, reply };
        let asked = async {
            self.agent.operators.send(call).await.map_err(|_| Refusal::AgentGone)?;
            Ok(answer.await.map_err(|_| Refusal::AgentGone)??)
        };
        let busy = |_| Refusal::AgentBusy { seconds: self.limits.agent.as_secs() };
        timeout_at(deadline, asked).await.map_err(busy)?
    }
}

/// What a request on a backend asks the agent for, and the status when all of it is done.
fn wishes(
    service: Option<ServiceName>,
    address: SocketAddr,
    action: Action,
    body: &Bytes,
) -> Result<(StatusCode, Vec<OperatorRequest>), Refusal> {
    match action {
        Action::Add => {
            let Addition { weight } = parsed(if body.is_empty() { b"{}" } else { body })?;
            Ok((StatusCode::CREATED, vec![OperatorRequest::Add { service, address, weight }]))
        }
        Action::Remove => Ok((StatusCode::OK, vec![OperatorRequest::Remove { service, address }])),
        Action::Change => {
            let Change { admin, weight, timeout } = parsed(body)?;
            let weight =
                weight.map(|weight| OperatorRequest::SetWeight { service: service.clone(), address, weight });
            let admin = match (admin, timeout) {
                (admin, None) => admin.map(|admin| OperatorRequest::SetAdmin { service, address, admin }),
                (Some(Admin::Draining), Some(timeout)) => {
                    let timeout = timeout.parse::<ConfigDuration>().map_err(Refusal::BadTimeout)?.get();
                    Some(OperatorRequest::Drain { service, address, timeout })
                }
                (_, Some(_)) => return Err(Refusal::TimeoutWithoutDrain),
            };
            let wishes: Vec<_> = weight.into_iter().chain(admin).collect();
            if wishes.is_empty() { Err(Refusal::NothingToChange) } else { Ok((StatusCode::OK, wishes)) }
        }
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::BadJson(error.to_string()))
}
