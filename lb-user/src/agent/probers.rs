//! One prober for each backend, and whom they trust.

use std::collections::BTreeMap;

use lb_core::{
    model::BackendKey,
    probe::{CheckKind, ProbeTarget, TlsCheck},
};
use tokio::sync::mpsc;

use super::chain;
use crate::probe::{
    Mistaken, ProbeEvent, ProbeRequest, Prober,
    tls::{self, TlsSettings},
};

/// The probers of all backends.
pub(super) struct Probers {
    running: BTreeMap<BackendKey, Running>,
    events: mpsc::Sender<ProbeEvent>,
    mistaken: Mistaken,
    trust: Vec<Trust>,
}

struct Running {
    target: ProbeTarget,
    prober: Prober,
    under_way: Option<ProbeRequest>,
}

/// What came of reading a check's authority; shared by all backends with the same check.
struct Trust {
    check: TlsCheck,
    settings: Option<TlsSettings>,
    complaint: Option<String>,
}

impl Probers {
    pub(super) fn new(events: mpsc::Sender<ProbeEvent>, mistaken: Mistaken) -> Self {
        Self { running: BTreeMap::new(), events, mistaken, trust: Vec::new() }
    }

    /// Begins to keep a connection, in place of an earlier one. A probe that was under way is made anew.
    pub(super) fn start(&mut self, target: ProbeTarget) {
        let settings = match &target.kind {
            CheckKind::Https(_, check) => self.settings(check),
            CheckKind::Http(_) | CheckKind::Tcp => None,
        };
        let prober =
            Prober::spawn_beside(target.clone(), settings, self.events.clone(), self.mistaken.clone());
        let under_way = self.running.get(&target.key).and_then(|running| running.under_way);
        if let Some(request) = under_way {
            prober.probe(request);
        }
        self.running.insert(target.key.clone(), Running { target, prober, under_way });
        self.forget_unused_trust();
    }

    pub(super) fn stop(&mut self, key: &BackendKey) {
        self.running.remove(key);
        self.forget_unused_trust();
    }

    pub(super) fn probe(&mut self, key: &BackendKey, request: ProbeRequest) {
        if let Some(running) = self.running.get_mut(key) {
            running.under_way = Some(request);
            running.prober.probe(request);
        }
    }

    /// Notes that a probe ended.
    pub(super) fn ended(&mut self, key: &BackendKey, attempt: u64) {
        if let Some(running) = self.running.get_mut(key)
            && running.under_way.is_some_and(|request| request.attempt == attempt)
        {
            running.under_way = None;
        }
    }

    /// What is wrong with the authorities, for `lbctl status`.
    pub(super) fn complaints(&self) -> impl Iterator<Item = &String> {
        self.trust.iter().filter_map(|trust| trust.complaint.as_ref())
    }

    /// Reads again the authorities that were missing or unreadable: kubeadm writes them when a node joins. Where that
    /// changed something, the probers begin anew.
    pub(super) fn retry_trust(&mut self) {
        self.reload_trust(|trust| trust.complaint.is_some());
    }

    /// Reads all authorities again, for SIGHUP: certificates rotate.
    pub(super) fn renew_trust(&mut self) {
        self.reload_trust(|_| true);
    }

    fn reload_trust(&mut self, which: impl Fn(&Trust) -> bool) {
        for index in 0..self.trust.len() {
            let old = &self.trust[index];
            if !which(old) {
                continue;
            }
            let new = Trust::read(&old.check);
            // The same complaint again is no news; without one, the certificates may have changed.
            if new.complaint.is_none() || new.complaint != old.complaint {
                new.complain();
                let check = new.check.clone();
                self.trust[index] = new;
                self.restart(&check);
            }
        }
    }

    fn restart(&mut self, check: &TlsCheck) {
        let users = self.running.values().filter(|running| running.uses(check));
        let targets: Vec<_> = users.map(|running| running.target.clone()).collect();
        targets.into_iter().for_each(|target| self.start(target));
    }

    fn forget_unused_trust(&mut self) {
        let running = &self.running;
        self.trust.retain(|trust| running.values().any(|running| running.uses(&trust.check)));
    }

    fn settings(&mut self, check: &TlsCheck) -> Option<TlsSettings> {
        if let Some(known) = self.trust.iter().find(|trust| trust.check == *check) {
            return known.settings.clone();
        }
        let trust = Trust::read(check);
        trust.complain();
        let settings = trust.settings.clone();
        self.trust.push(trust);
        settings
    }
}

impl Running {
    fn uses(&self, check: &TlsCheck) -> bool {
        matches!(&self.target.kind, CheckKind::Https(_, tls) if tls == check)
    }
}

impl Trust {
    fn read(check: &TlsCheck) -> Self {
        let (settings, complaint) = match tls::load(check) {
            Ok((settings, warning)) => (Some(settings), warning.map(|w| w.to_string())),
            Err(error) => (None, Some(format!("backends cannot be checked: {}", chain(&error)))),
        };
        Self { check: check.clone(), settings, complaint }
    }

    fn complain(&self) {
        if let Some(complaint) = &self.complaint {
            tracing::warn!("{complaint}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use lb_core::probe::{Ca, HttpCheck, ServerName};

    use super::*;

    fn target(ca: &Path) -> ProbeTarget {
        let http = HttpCheck::get("/readyz", [200]);
        let tls = TlsCheck { ca: Ca::File(ca.to_owned()), server_name: ServerName::Auto };
        ProbeTarget {
            key: BackendKey {
                service: "apiserver".parse().unwrap(),
                address: "127.0.0.1:1".parse().unwrap(),
            },
            kind: CheckKind::Https(http, tls),
            hostname: None,
            timeout: Duration::from_secs(1),
            heartbeat: None,
            patience: Duration::from_secs(1),
        }
    }

    fn write_ca(path: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
    }

    #[tokio::test]
    async fn an_authority_that_appears_later_is_taken_and_the_complaint_ends() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.crt");
        let (tx, _rx) = mpsc::channel(8);
        let mut probers = Probers::new(tx, Mistaken::default());
        probers.start(target(&ca));
        assert_eq!(probers.complaints().count(), 1);
        probers.retry_trust();
        assert_eq!(probers.complaints().count(), 1);
        write_ca(&ca);
        probers.retry_trust();
        assert_eq!(probers.complaints().count(), 0);
    }

    #[tokio::test]
    async fn an_authority_that_nobody_uses_any_more_is_forgotten() {
        let (tx, _rx) = mpsc::channel(8);
        let mut probers = Probers::new(tx, Mistaken::default());
        probers.start(target(Path::new("/none/a.crt")));
        probers.start(target(Path::new("/none/b.crt")));
        assert_eq!(probers.complaints().count(), 1, "the target's second check replaced its first");
        probers.stop(&target(Path::new("/none/b.crt")).key);
        assert_eq!(probers.complaints().count(), 0);
    }
}
