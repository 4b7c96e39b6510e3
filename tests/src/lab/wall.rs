//! A firewall on a master, that refuses more than it should.

use super::Master;
use crate::command::run;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// By an ICMP error; the kernel sends some in a second and is silent otherwise.
    PortUnreachable,
    /// As a host on which nobody listens.
    Reset,
}

impl Master {
    /// Everything that comes to the port on which it serves is refused.
    ///
    /// # Errors
    /// When nft(8) fails. On a local master the node itself is what is changed.
    pub fn refuse(&self, how: Refusal) -> anyhow::Result<()> {
        let with = match how {
            Refusal::PortUnreachable => "icmpx type port-unreachable",
            Refusal::Reset => "tcp reset",
        };
        let port = self.address().port();
        let rules = format!(
            "table inet wall {{\nchain input {{\ntype filter hook input priority 0\n\
             tcp dport {port} reject with {with}\n}}\n}}"
        );
        self.nft(&[&rules])
    }

    /// Ends what [`Self::refuse`] began.
    ///
    /// # Errors
    /// When nft(8) fails, as when nothing is refused.
    pub fn admit(&self) -> anyhow::Result<()> {
        self.nft(&["delete", "table", "inet", "wall"])
    }

    fn nft(&self, words: &[&str]) -> anyhow::Result<()> {
        let prefix = ["ip", "netns", "exec", self.host().netns().name(), "nft"];
        run(&[&prefix[..], words].concat()).map(drop)
    }
}
