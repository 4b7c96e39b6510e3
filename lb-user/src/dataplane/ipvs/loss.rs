//! Services of ours that other programs delete: kube-proxy in IPVS mode does with each that it does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a loss is worth a warning: longer than kube-proxy's longest pause (its syncPeriod, 30 s), so that the
/// warning does not come and go.
const WORTH: Duration = Duration::from_secs(10 * 60);

/// What was there, and what went without our doing. Bounded by the number of services.
#[derive(Debug, Default)]
pub struct Losses {
    present: BTreeSet<SocketAddr>,
    lost: BTreeMap<SocketAddr, Lost>,
}

#[derive(Debug)]
struct Lost {
    times: u32,
    last: Instant,
}

impl Losses {
    /// The service is there.
    pub fn present(&mut self, vip: SocketAddr) {
        self.present.insert(vip);
    }

    /// The service is not there.
    pub fn absent(&mut self, vip: SocketAddr) {
        if !self.present.remove(&vip) {
            return;
        }
        let lost = self.lost.entry(vip).or_insert(Lost { times: 0, last: Instant::now() });
        lost.times = lost.times.saturating_add(1);
        lost.last = Instant::now();
        tracing::warn!("{}", text(vip, lost.times));
    }

    /// The service is not ours any more.
    pub fn forget(&mut self, vip: SocketAddr) {
        self.present.remove(&vip);
        self.lost.remove(&vip);
    }

    /// What somebody should know.
    pub fn warnings(&self) -> Vec<String> {
        let recent = self.lost.iter().filter(|(_, lost)| lost.last.elapsed() < WORTH);
        recent.map(|(vip, lost)| text(*vip, lost.times)).collect()
    }
}

fn text(vip: SocketAddr, times: u32) -> String {
    let length = if vip.is_ipv4() { 32 } else { 128 };
    let count = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    format!(
        "another program has deleted the IPVS service at {vip} ({count}); it is made again, but connections through it \
         break each time; hint: kube-proxy in IPVS mode does this unless its config says `ipvs.excludeCIDRs: \
         [\"{}/{length}\"]`",
        vip.ip()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip() -> SocketAddr {
        "10.103.97.2:6443".parse().unwrap()
    }

    #[test]
    fn a_service_that_was_never_there_is_no_loss() {
        let mut losses = Losses::default();
        losses.absent(vip());
        assert_eq!(losses.warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_service_that_goes_is_counted_once_each_time_and_names_kube_proxys_setting() {
        let mut losses = Losses::default();
        for _ in 0..2 {
            losses.present(vip());
            losses.absent(vip());
            losses.absent(vip());
        }
        let warnings = losses.warnings();
        assert!(
            matches!(&warnings[..], [text] if text.contains("2 times") && text.contains("excludeCIDRs: [\"10.103.97.2/32\"]")),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_service_that_we_remove_is_no_loss() {
        let mut losses = Losses::default();
        losses.present(vip());
        losses.forget(vip());
        losses.absent(vip());
        assert_eq!(losses.warnings(), Vec::<String>::new());
    }
}
