use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use lb_core::{config::KubernetesDiscovery, model::ServiceName};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use super::session;
use crate::agent::chain;

/// After a failure the next try comes so much later, and later from one to the next.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A session that was shorter was no good one.
const LASTING: Duration = Duration::from_secs(10);

/// What a follower tells.
#[derive(Debug)]
pub enum News {
    /// An apiserver that is up has told the cluster's list.
    Listed {
        /// Whose backends they are.
        service: ServiceName,
        /// The list.
        addresses: BTreeSet<SocketAddr>,
    },
    /// The list cannot be read; what was known before holds.
    Failed {
        /// Of which service.
        service: ServiceName,
        /// Why.
        why: String,
    },
}

/// Follows the list for one service, as long as it lives.
pub struct Follower {
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Begins. `up` are the apiservers that may be asked; while there is none nothing is done.
    pub fn spawn(
        service: ServiceName,
        settings: KubernetesDiscovery,
        up: watch::Receiver<BTreeSet<SocketAddr>>,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self { task: tokio::spawn(follow(service, settings, up, news)) }
    }
}

/// Where the lists of one session go.
pub(super) struct Lists {
    service: ServiceName,
    news: mpsc::Sender<News>,
    any: bool,
}

impl Lists {
    pub(super) async fn take(&mut self, addresses: BTreeSet<SocketAddr>) {
        self.any = true;
        // Without a receiver the loop that would take it is about to end.
        let _ = self.news.send(News::Listed { service: self.service.clone(), addresses }).await;
    }
}

async fn follow(
    service: ServiceName,
    settings: KubernetesDiscovery,
    mut up: watch::Receiver<BTreeSet<SocketAddr>>,
    news: mpsc::Sender<News>,
) {
    let mut pause = BACKOFF.0;
    let mut broken = 0_u32;
    while let Some(address) = one_of(&mut up).await {
        let mut lists = Lists { service: service.clone(), news: news.clone(), any: false };
        let (mut watched, began) = (up.clone(), Instant::now());
        let failed = tokio::select! {
            result = session::run(&settings, address, &mut lists) => result.err(),
            () = has_left(&mut watched, address) => None,
        };
        if lists.any {
            pause = BACKOFF.0;
        }
        if began.elapsed() > LASTING {
            broken = 0;
        }
        let Some(error) = failed else { continue };
        let why = chain(&error);
        tracing::debug!(%service, "failed to follow the cluster's list of apiservers: {why}");
        // An apiserver that dies takes one session with it, which is nothing to warn of; the next one is about to begin.
        broken += 1;
        if (!lists.any || broken > 1)
            && news.send(News::Failed { service: service.clone(), why }).await.is_err()
        {
            return;
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// One that is up, by chance; waits for one. `None`: there will be none.
async fn one_of(up: &mut watch::Receiver<BTreeSet<SocketAddr>>) -> Option<SocketAddr> {
    let all = up.wait_for(|up| !up.is_empty()).await.ok()?.clone();
    fastrand::choice(all)
}

async fn has_left(up: &mut watch::Receiver<BTreeSet<SocketAddr>>, address: SocketAddr) {
    if up.wait_for(|up| !up.contains(&address)).await.is_err() {
        // Nobody is there to tell that it has left; the follower is about to end.
        std::future::pending().await
    }
}
