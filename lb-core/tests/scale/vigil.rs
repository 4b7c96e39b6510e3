//! Watching over a master that owes an answer, as `lb-user/src/probe/vigil.rs` does.

use std::time::Duration;

use lb_core::{
    health::{free_after, gone_after},
    probe::HostSign,
};

use crate::world::{Manner, Time};

/// From one look at a silent master to the next, and from one knock to the next in the beginning.
const PACE: Duration = Duration::from_millis(50);
const BURST_PACE: Duration = Duration::from_millis(25);
const BURST: u32 = 8;
const KNOCKS: u32 = 24;
/// After this a silence is no news.
const LONGEST: Duration = Duration::from_secs(10);
/// Of so many looks that show the same one is told, besides those that can matter: a controller's time is dear here.
const TOLD: u32 = 5;

/// What is known about a silence.
pub struct Vigil {
    pub since: Time,
    /// What was asked was asked on an old connection.
    kept: bool,
    acknowledged: bool,
    answered: bool,
    packets: u32,
    pub next: Time,
    last: Option<(Time, HostSign)>,
    looks: u32,
}

/// What a look showed.
pub struct Look {
    pub host: HostSign,
    /// Whether it can change anything.
    pub news: bool,
    pub knocked: bool,
}

impl Vigil {
    pub fn new(now: Time, since: Time, kept: bool) -> Self {
        let (acknowledged, answered) = (false, false);
        Self { since, kept, acknowledged, answered, packets: 1, next: now, last: None, looks: 0 }
    }

    /// `None`: it goes on for so long that it is no news.
    pub fn look(&mut self, now: Time, manner: Manner) -> Option<Look> {
        if now - self.since >= LONGEST {
            return None;
        }
        self.acknowledged |= self.kept && matches!(manner, Manner::Serves | Manner::Hangs);
        let host = match (self.acknowledged, self.answered) {
            (true, _) => HostSign::Acknowledged,
            (false, true) if !self.kept => HostSign::Acknowledged,
            (false, true) => HostSign::Lossy,
            (false, false) => HostSign::Nothing { packets: self.packets },
        };
        let is_silent = !self.acknowledged && !self.answered;
        let knocked = is_silent && self.packets <= KNOCKS;
        if knocked {
            self.packets += 1;
            self.answered = manner != Manner::Unreachable;
        }
        let news = self.is_news(now, host);
        self.next = now + if is_silent && self.packets <= BURST { BURST_PACE } else { PACE };
        Some(Look { host, news, knocked })
    }

    fn is_news(&mut self, now: Time, host: HostSign) -> bool {
        self.looks += 1;
        let silent = |at: Time| at - self.since;
        let same = |last: HostSign| std::mem::discriminant(&last) == std::mem::discriminant(&host);
        let news = self.last.is_none_or(|(at, last)| {
            let passes = |length| silent(at) < length && silent(now) >= length;
            let gone = matches!(host, HostSign::Nothing { .. }) && silent(now) >= gone_after(None);
            !same(last) || passes(free_after(None)) || gone
        });
        self.last = Some((now, host));
        news || self.looks % TOLD == 1
    }
}
