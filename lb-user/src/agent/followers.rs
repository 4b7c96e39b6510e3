//! One follower of the cluster's list for each service that wants one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lb_core::{
    config::{Config, KubernetesDiscovery},
    control::Controller,
    model::ServiceName,
};
use tokio::sync::{mpsc, watch};

use crate::discovery::{Follower, News};

/// The followers of all services.
pub(super) struct Followers {
    running: BTreeMap<ServiceName, Running>,
    news: mpsc::Sender<News>,
}

struct Running {
    settings: KubernetesDiscovery,
    up: watch::Sender<BTreeSet<SocketAddr>>,
    complaint: Option<String>,
    #[expect(dead_code, reason = "held for its drop")]
    follower: Follower,
}

impl Followers {
    pub(super) fn new(news: mpsc::Sender<News>) -> Self {
        Self { running: BTreeMap::new(), news }
    }

    /// Follows for those services that the configuration says, and no others.
    pub(super) fn keep(&mut self, config: &Config) {
        let wanted: BTreeMap<_, _> = config
            .services
            .iter()
            .filter_map(|service| Some((service.name.clone(), service.discovery.clone()?)))
            .collect();
        self.running.retain(|name, running| wanted.get(name) == Some(&running.settings));
        for (name, settings) in wanted {
            let news = &self.news;
            self.running.entry(name.clone()).or_insert_with(|| {
                let (up, up_rx) = watch::channel(BTreeSet::new());
                let follower = Follower::spawn(name, settings.clone(), up_rx, news.clone());
                Running { settings, up, complaint: None, follower }
            });
        }
    }

    /// Says who may be asked.
    pub(super) fn tell(&self, controller: &Controller) {
        for (name, running) in &self.running {
            let now = controller.up(name);
            running.up.send_if_modified(|up| {
                let news = *up != now;
                *up = now;
                news
            });
        }
    }

    /// Notes that a list has come.
    pub(super) fn listed(&mut self, service: &ServiceName) {
        if let Some(running) = self.running.get_mut(service)
            && running.complaint.take().is_some()
        {
            tracing::info!(%service, "the cluster's list of apiservers is followed again");
        }
    }

    /// Notes why none has.
    pub(super) fn failed(&mut self, service: &ServiceName, why: &str) {
        if let Some(running) = self.running.get_mut(service) {
            let complaint = format!("{service}: failed to follow the cluster's list of apiservers: {why}");
            if running.complaint.as_ref() != Some(&complaint) {
                tracing::warn!("{complaint}");
            }
            running.complaint = Some(complaint);
        }
    }

    /// What is wrong, for `lbctl status`.
    pub(super) fn complaints(&self) -> impl Iterator<Item = &String> {
        self.running.values().filter_map(|running| running.complaint.as_ref())
    }
}
