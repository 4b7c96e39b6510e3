//! What a look at the running dataplane says to people. Pure.

use std::{collections::BTreeSet, path::Path};

use super::{Hook, Proof};
use crate::dataplane::{Inspection, evict::CANNOT_END_SOCKETS};

pub(super) struct Facts<'a> {
    pub(super) cgroup: &'a Path,
    pub(super) pins: &'a Path,
    pub(super) hooks: &'a BTreeSet<Hook>,
    pub(super) proof: Proof,
    pub(super) can_end_sockets: bool,
    pub(super) untracked: u64,
    pub(super) rescue: Rescues,
}

/// Whether connections that are not answered go to another backend.
pub(super) enum Rescues {
    On { count: u64, refused: usize },
    Off,
    Cannot(String),
}

impl Rescues {
    fn text(&self) -> String {
        match self {
            Self::On { count, .. } => format!("on, {count} so far"),
            Self::Off => "off".to_owned(),
            Self::Cannot(why) => format!("off: {why}"),
        }
    }
}

pub(super) fn inspection(facts: &Facts<'_>) -> Inspection {
    let hooks: Vec<_> = facts.hooks.iter().map(ToString::to_string).collect();
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    Inspection {
        ineffective: ineffective(facts),
        warnings: warnings(facts),
        facts: vec![
            ("cgroup".to_owned(), facts.cgroup.display().to_string()),
            ("pins".to_owned(), facts.pins.display().to_string()),
            ("hooks".to_owned(), hooks.join(" ")),
            ("ends sockets".to_owned(), yes_no(facts.can_end_sockets).to_owned()),
            ("rescues connects".to_owned(), facts.rescue.text()),
        ],
    }
}

fn ineffective(facts: &Facts<'_>) -> Option<String> {
    let missing: Vec<_> =
        Hook::ALL.iter().filter(|hook| !facts.hooks.contains(hook)).map(ToString::to_string).collect();
    let cgroup = facts.cgroup.display();
    if !missing.is_empty() {
        return Some(format!("{} not attached to {cgroup}", missing.join(", ")));
    }
    (!facts.proof.connect4).then(|| {
        format!("a connect made in {cgroup} did not pass through our program; set `cgroup:` to the host's true root")
    })
}

fn warnings(facts: &Facts<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if !facts.can_end_sockets {
        warnings.push(format!(
            "{CANNOT_END_SOCKETS}: connections to a dead backend last until their own time-out"
        ));
    }
    if let Rescues::Cannot(why) = &facts.rescue {
        let what = "a connect() to a master that just died is not sent to another one";
        warnings.push(format!("{what}: {why}; set `rescue: off` where that is known"));
    }
    if let Rescues::On { refused, .. } = facts.rescue
        && refused > 0
    {
        warnings.push(format!(
            "{refused} interfaces towards masters take no program: no connect() is rescued there"
        ));
    }
    if facts.untracked > 0 {
        let what = format!("{} connections could not be tracked for want of memory", facts.untracked);
        warnings.push(format!("{what}: they will not be ended when their backend dies"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(hooks: &[Hook], connect4: bool, can_end_sockets: bool) -> Inspection {
        inspection(&Facts {
            cgroup: Path::new("/cg"),
            pins: Path::new("/pins"),
            hooks: &hooks.iter().copied().collect(),
            proof: Proof { connect4, connect6: true, netns_cookie: 1, from_here: true },
            can_end_sockets,
            untracked: 0,
            rescue: Rescues::On { count: 0, refused: 0 },
        })
    }

    #[test]
    fn all_hooks_and_a_proof_are_effective() {
        assert_eq!(look(&Hook::ALL, true, true).ineffective, None);
    }

    #[test]
    fn a_missing_hook_is_named() {
        let why = look(&Hook::ALL[..4], true, true).ineffective.unwrap();
        assert!(why.contains("connect6 not attached"), "{why}");
    }

    #[test]
    fn without_a_proof_all_hooks_are_not_enough() {
        assert!(look(&Hook::ALL, false, true).ineffective.is_some());
    }

    #[test]
    fn a_kernel_that_cannot_end_sockets_is_a_warning() {
        assert_eq!(look(&Hook::ALL, true, false).warnings.len(), 1);
    }
}
