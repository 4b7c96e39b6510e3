//! Who serves: every rule for the case that not all is well, and the reason for each backend.

use std::{fmt, net::SocketAddr};

use crate::model::{Admin, Health, OnAllDown, OnDown, Prefer};

/// One backend of a service, with all that decides whether it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its real address.
    pub address: SocketAddr,
    /// Its share; 0: no new connections.
    pub weight: u16,
    /// The operator's intent.
    pub admin: Admin,
    /// It is draining, and the time that its connections were given is over.
    pub drained: bool,
    /// What was observed.
    pub health: Health,
    /// Dead, but it has answered the last probe.
    pub returning: bool,
    /// Whether it was serving in a kernel state that was taken over.
    pub adopted: bool,
    /// Whether it was ever seen up.
    pub ever_up: bool,
    /// Whether it accepted the TCP connection of the last probe.
    pub accepts_tcp: bool,
    /// Whether it has shown no bad certificate since its last answer.
    pub trusted: bool,
    /// Whether the address is one of this node's own.
    pub local: bool,
    /// The cluster has a list of its apiservers, and it is not in it.
    pub unlisted: bool,
}

/// Whether a backend takes new connections, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Serving(ServingWhy),
    /// It does not.
    Out(OutWhy),
}

/// Why a backend takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingWhy {
    /// It is up.
    Up,
    /// It is this node's own, and up.
    Local,
    /// It served before the agent started, and there is no verdict yet.
    Adopted,
    /// It is suspect, and nobody is better.
    NoneUp,
    /// It is up, and nobody whom the cluster lists is.
    NoneListed,
    /// It is down like all the others, and `onAllDown` keeps it.
    AllDown(OnAllDown),
}

/// Why a backend takes no new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutWhy {
    /// The operator drains it.
    Draining,
    /// The operator has disabled it.
    Disabled,
    /// Its weight is 0.
    ZeroWeight,
    /// This node's own backend goes first.
    LocalFirst,
    /// The cluster does not list it.
    Unlisted,
    /// It was never seen up, and is not now.
    NeverUp(Health),
    /// Others are better, or `onAllDown` does not keep it.
    Down(Health),
}

/// Who may serve; the first tier that has anybody in it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Up and this node's own, where that is preferred.
    Local,
    /// Up, or taken over and not judged yet.
    Up,
    /// Silent for a moment. That is not down, so it comes before any `onAllDown`.
    Suspect,
    /// Up, but not in the cluster's list: the list may be wrong.
    Unlisted,
    /// Answers, but is not ready.
    NotReady,
    /// Accepts connections, though it fails its probes.
    Accepting,
    /// Whatever is left, where `onAllDown` is `all`.
    Any,
}

impl Standing {
    /// Whether it takes new connections.
    pub fn is_serving(self) -> bool {
        match self {
            Self::Serving(_) => true,
            Self::Out(_) => false,
        }
    }
}

impl Candidate {
    /// Whether it ever had a right to traffic. One that never had gets none, however bad the others are: it may be
    /// half installed, or not an apiserver at all.
    fn is_established(&self) -> bool {
        self.ever_up || self.adopted
    }

    fn is_first_choice(&self) -> bool {
        match self.health {
            Health::Up => true,
            Health::Unknown => self.adopted,
            Health::Suspect | Health::NotReady | Health::Dead => false,
        }
    }

    /// The tier that it belongs to; `None`: it must not serve, whatever the others are.
    fn tier(&self, prefer: Prefer, on_all_down: OnAllDown) -> Option<Tier> {
        if self.admin != Admin::Active || self.weight == 0 {
            return None;
        }
        if self.is_first_choice() {
            return Some(match prefer {
                _ if self.unlisted => Tier::Unlisted,
                Prefer::Local if self.local => Tier::Local,
                Prefer::Local | Prefer::None => Tier::Up,
            });
        }
        if self.health == Health::Suspect && self.is_established() {
            return Some(Tier::Suspect);
        }
        match on_all_down {
            OnAllDown::All => Some(Tier::Any),
            OnAllDown::Refuse => None,
            OnAllDown::Auto if !self.is_established() => None,
            OnAllDown::Auto => match self.health {
                Health::NotReady => Some(Tier::NotReady),
                Health::Dead if self.accepts_tcp && self.trusted => Some(Tier::Accepting),
                Health::Dead | Health::Suspect | Health::Up | Health::Unknown => None,
            },
        }
    }

    fn why_serving(&self, tier: Tier, on_all_down: OnAllDown) -> ServingWhy {
        match tier {
            Tier::Local | Tier::Up if self.health == Health::Unknown => ServingWhy::Adopted,
            Tier::Unlisted => ServingWhy::NoneListed,
            Tier::Local => ServingWhy::Local,
            Tier::Up => ServingWhy::Up,
            Tier::Suspect => ServingWhy::NoneUp,
            Tier::NotReady | Tier::Accepting | Tier::Any => ServingWhy::AllDown(on_all_down),
        }
    }

    fn why_out(&self) -> OutWhy {
        match self.admin {
            Admin::Draining => OutWhy::Draining,
            Admin::Disabled => OutWhy::Disabled,
            Admin::Active if self.weight == 0 => OutWhy::ZeroWeight,
            Admin::Active if self.is_first_choice() && self.unlisted => OutWhy::Unlisted,
            Admin::Active if self.is_first_choice() => OutWhy::LocalFirst,
            Admin::Active if !self.is_established() => OutWhy::NeverUp(self.health),
            Admin::Active => OutWhy::Down(self.health),
        }
    }
}

/// Who of a service's backends takes new connections, in the order of `candidates`.
///
/// Active backends with a weight serve in tiers; the first tier that is not empty serves alone:
/// 1. this node's own, up, with `prefer: local`;
/// 2. those that are up, and those taken over from a running kernel state until their first verdict;
/// 3. the suspect ones: all are slow, so none is evicted;
/// 4. those that are up but that the cluster does not list;
/// 5. by `onAllDown`: `auto`: those that answer "not ready", else those that still accept TCP with a certificate
///    that we trust, never one that was never up; `all`: all of them; `refuse`: nobody.
pub fn serving(candidates: &[Candidate], prefer: Prefer, on_all_down: OnAllDown) -> Vec<Standing> {
    let tier = |candidate: &Candidate| candidate.tier(prefer, on_all_down);
    let best = candidates.iter().filter_map(tier).min();
    let standing = |candidate: &Candidate| match tier(candidate) {
        Some(own) if best == Some(own) => Standing::Serving(candidate.why_serving(own, on_all_down)),
        Some(_) | None => Standing::Out(candidate.why_out()),
    };
    candidates.iter().map(standing).collect()
}

/// Whether the established connections to a backend are to be ended: it is dead and serves nobody, or it is
/// disabled, and `onDown` says so. Not those of a dead one that answers again: when all were down, clients have come back to
/// it already. Draining keeps them while the backend lives, but no longer than the operator gave
/// them, whatever `onDown` says; suspicion and "not ready" keep them.
pub fn ends_connections(candidate: &Candidate, standing: Standing, on_down: OnDown) -> bool {
    let dead = candidate.health == Health::Dead && !candidate.returning;
    let lost = dead || candidate.admin == Admin::Disabled;
    match on_down {
        OnDown::Reset => candidate.drained || (lost && !standing.is_serving()),
        OnDown::Keep => candidate.drained,
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving(why) => why.fmt(f),
            Self::Out(why) => why.fmt(f),
        }
    }
}

impl fmt::Display for ServingWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Local => f.write_str("up, local backend goes first"),
            Self::Adopted => f.write_str("kept: taken over, no verdict yet"),
            Self::NoneUp => f.write_str("kept: suspect, but no backend is up"),
            Self::NoneListed => f.write_str("kept: not in the cluster's list, but nobody there is up"),
            Self::AllDown(rule) => write!(f, "kept: all backends are down (onAllDown: {rule})"),
        }
    }
}

impl fmt::Display for OutWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining by operator"),
            Self::Disabled => f.write_str("disabled by operator"),
            Self::ZeroWeight => f.write_str("weight 0"),
            Self::LocalFirst => f.write_str("local backend goes first"),
            Self::Unlisted => f.write_str("not in the cluster's list of apiservers"),
            Self::NeverUp(health) => write!(f, "{health}, never seen up"),
            Self::Down(health) => health.fmt(f),
        }
    }
}
