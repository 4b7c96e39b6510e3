//! Where clients are.

use lb_tests::Lab;
use lb_tests::lab::Node;
use serde::{Deserialize, Serialize};

use crate::contender::Scheme;

/// Where a client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Whence {
    /// A process of the node's.
    #[default]
    Node,
    /// In a virtual machine whose packets the node forwards.
    Vm,
    /// On a machine from elsewhere whose packets the node forwards, by wires that are like cables: they carry what fits a frame.
    Wire,
    /// On such a machine by wires that carry packets of 64 KiB, whose checksums nobody has computed.
    Outside,
}

impl Whence {
    /// A lab with such clients. The masters know the way back to those that are forwarded, so that nobody has to masquerade.
    pub(super) fn lab(self, scheme: Scheme) -> anyhow::Result<Lab> {
        match self {
            Self::Node => scheme.lab(Lab::builder()),
            Self::Vm => self.forwarded(scheme.lab(Lab::builder().vm())?),
            Self::Wire => self.forwarded(scheme.lab(Lab::builder().outsider().cables())?),
            Self::Outside => self.forwarded(scheme.lab(Lab::builder().outsider())?),
        }
    }

    /// With the way back.
    fn forwarded(self, lab: Lab) -> anyhow::Result<Lab> {
        let way = format!("route add {} via {}", self.node(&lab).host().v4(), lab.node().host().v4());
        lab.masters().iter().try_for_each(|master| master.host().netns().ip(std::slice::from_ref(&way)))?;
        Ok(lab)
    }

    /// Where they are in the lab.
    pub(super) fn node(self, lab: &Lab) -> &Node {
        match self {
            Self::Node => lab.node(),
            Self::Vm => lab.vm(),
            Self::Wire | Self::Outside => lab.outsider(),
        }
    }
}
