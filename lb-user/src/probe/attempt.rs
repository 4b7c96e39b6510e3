use std::net::SocketAddr;

use lb_core::probe::{Failure, Phase, ProbeOutcome};
use tokio::time::{Instant, timeout_at};

use super::{
    Kept,
    connection::{Connection, Head, Http},
    dial,
    failure::Trouble,
    plan::{Check, HttpPlan, Plan},
    tcp::Tcp,
};

/// Makes the probes of one backend, one at a time.
pub(super) struct Attempts(Plan);

/// When a probe began, and when it has to be over.
#[derive(Clone, Copy)]
struct Span {
    started: Instant,
    deadline: Instant,
}

/// An answer's head, with the connection that it came on.
struct Answered {
    http: Http,
    own: Option<SocketAddr>,
    made: Instant,
    head: Head,
}

impl Attempts {
    pub(super) fn new(plan: Plan) -> Self {
        Self(plan)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.0
    }

    /// Makes one probe, over the kept connection where that can be, and leaves in its place the one to be watched.
    /// Clears `was_brief` when it closes a kept connection that is still good.
    pub(super) async fn make(&self, kept: &mut Option<Kept>, was_brief: &mut bool) -> ProbeOutcome {
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
            Check::Http(plan) => match self.ask(plan, kept, span).await {
                Ok(answered) => {
                    let outcome = plan.judge(answered.head.status, span);
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
    async fn ask(&self, plan: &HttpPlan, slot: &mut Option<Kept>, span: Span) -> Result<Answered, Trouble> {
        let backend = self.0.address;
        if let Some(Kept { connection: Connection::Http(mut http), own, made, stalls }) =
            slot.take_if(|kept| kept.is_of_use(backend))
        {
            match timeout_at(span.deadline, http.ask(&plan.question)).await {
                Ok(Ok(head)) => return Ok(Answered { http, own, made, head }),
                // It ended before or because it was used; whether the backend is well, a fresh one tells.
                Ok(Err(_)) => {}
                Err(_) => {
                    let stalls = stalls + 1;
                    let kept = |http| Kept { connection: Connection::Http(http), own, made, stalls };
                    *slot = http.stalled().then(|| kept(http));
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
            let head = http.ask(&plan.question).await?;
            Ok(Answered { http, own, made, head })
        };
        match timeout_at(span.deadline, answered).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout(phase).into()),
        }
    }
}

impl Answered {
    async fn finish(self, span: Span) -> Option<Kept> {
        let http = self.http.finish(self.head, span.deadline).await?;
        let connection = Connection::Http(http);
        Some(Kept { connection, own: self.own, made: self.made, stalls: 0 })
    }
}

impl HttpPlan {
    fn judge(&self, status: u16, span: Span) -> ProbeOutcome {
        let latency = span.started.elapsed();
        if self.expect.contains(&status) {
            ProbeOutcome::Ready { latency }
        } else {
            ProbeOutcome::NotReady { latency, status }
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
