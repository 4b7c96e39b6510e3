use std::{net::SocketAddr, sync::Arc};

use lb_core::probe::{Failure, Phase, ProbeOutcome};
use tokio::time::{Instant, timeout_at};

use super::{
    Kept,
    connection::Connection,
    dial,
    failure::Trouble,
    http1::{Body, Http1},
    plan::{Check, HttpPlan, Plan},
    tcp::Tcp,
};

/// Makes the probes of one backend, one at a time.
pub(super) struct Attempts(Arc<Plan>);

/// When a probe began, and when it has to be over.
#[derive(Clone, Copy)]
struct Span {
    started: Instant,
    deadline: Instant,
}

/// An answer's head, with the connection that it came on.
struct Answered {
    http: Box<Http1>,
    own: Option<SocketAddr>,
    made: Instant,
    status: u16,
    body: Body,
}

impl Attempts {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self(plan)
    }

    /// Makes one probe, over the kept connection where that can be, and leaves in its place the one to be watched.
    /// Clears `was_brief` when it closes a kept connection that is still good. `watched`: PINGs tell when a backend that did
    /// not answer is heard of again.
    pub(super) async fn make(
        &self,
        kept: &mut Option<Kept>,
        was_brief: &mut bool,
        watched: bool,
    ) -> ProbeOutcome {
        let started = Instant::now();
        let span = Span { started, deadline: started + self.0.timeout };
        match &self.0.check {
            Check::Impossible(why) => ProbeOutcome::Inconclusive { reason: why.clone() },
            Check::Tcp => match self.connect(span).await {
                Ok(fresh) => {
                    let latency = started.elapsed();
                    *was_brief &= kept.replace(fresh).is_none();
                    ProbeOutcome::Ready { latency }
                }
                Err(trouble) => trouble.into(),
            },
            Check::Http(plan) => match self.ask(plan, kept, span, watched).await {
                Ok(answered) => {
                    let outcome = plan.judge(answered.status, span);
                    *kept = answered.finish(span).await;
                    outcome
                }
                Err(trouble) => trouble.into(),
            },
        }
    }

    async fn connect(&self, span: Span) -> Result<Kept, Trouble> {
        let stream = timeout_at(span.deadline, dial::tcp(&self.0))
            .await
            .unwrap_or(Err(Trouble::Backend(Failure::Timeout(Phase::Connect))))?;
        let own = stream.local_addr().ok();
        Ok(Kept { connection: Connection::Tcp(Tcp::new(stream)), own, made: Instant::now(), stalls: 0 })
    }

    /// Leaves a connection that has stalled in its place: where packets get lost, what was asked on it may be answered
    /// yet, sooner than on a fresh one.
    async fn ask(
        &self,
        plan: &HttpPlan,
        slot: &mut Option<Kept>,
        span: Span,
        watched: bool,
    ) -> Result<Answered, Trouble> {
        let backend = self.0.address;
        if let Some(Kept { connection: Connection::Http(mut http), own, made, stalls }) =
            slot.take_if(|kept| kept.is_of_use(backend))
        {
            match timeout_at(span.deadline, http.ask(plan.question.request())).await {
                Ok(Ok((status, body))) => return Ok(Answered { http, own, made, status, body }),
                // It ended before or because it was used; whether the backend is well, a fresh one tells.
                Ok(Err(_)) => {}
                Err(_) => {
                    let connection = Connection::Http(http);
                    *slot = watched.then_some(Kept { connection, own, made, stalls: stalls + 1 });
                    return Err(Failure::Timeout(Phase::Request).into());
                }
            }
        }
        self.dial_and_ask(plan, span).await
    }

    async fn dial_and_ask(&self, plan: &HttpPlan, span: Span) -> Result<Answered, Trouble> {
        let mut phase = Phase::Connect;
        let answered = async {
            let (mut http, own) = dial::http(&self.0, plan, &mut phase).await?;
            let made = Instant::now();
            let (status, body) = http.ask(plan.question.request()).await?;
            Ok(Answered { http, own, made, status, body })
        };
        match timeout_at(span.deadline, answered).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout(phase).into()),
        }
    }
}

impl Answered {
    /// Reads on to the end of the answer, within bounds. Gives the connection if it can be used afterwards.
    async fn finish(mut self, span: Span) -> Option<Kept> {
        let reusable = timeout_at(span.deadline, self.http.drain(self.body)).await.unwrap_or(false);
        let connection = Connection::Http(self.http);
        reusable.then_some(Kept { connection, own: self.own, made: self.made, stalls: 0 })
    }
}

impl HttpPlan {
    fn judge(&self, status: u16, span: Span) -> ProbeOutcome {
        let latency = span.started.elapsed();
        match self.expect.contains(&status) {
            true if status == 403 => ProbeOutcome::Denied { latency, status },
            true => ProbeOutcome::Ready { latency },
            false => ProbeOutcome::NotReady { latency, status },
        }
    }
}

impl From<Trouble> for ProbeOutcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Backend(failure) => Self::Failed(failure),
            Trouble::Local(reason) => Self::Inconclusive { reason },
        }
    }
}
