//! The ways to reach one of several masters: lbctl and its peers, each started in the node of a lab.
//!
//! `proxies` are programs that forward, `kernel` is rules made by hand, `agent` is lbctl; `running` is what they have in
//! common once they run, `ready` waits until they do.

mod agent;
mod kernel;
mod proxies;
mod ready;
mod running;

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use lb_tests::lab::{Builder, Launch, Master, VIP};
use lb_tests::{Lab, interrupt};
use serde::{Deserialize, Serialize};

use self::agent::Told;
use self::kernel::Masquerade;
pub use self::running::Running;

/// One way to reach the masters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The client itself picks one of the masters' addresses at random.
    Direct,
    /// lbctl's socket dataplane.
    Socket,
    /// The same, told not to rescue connects.
    SocketAlone,
    /// lbctl's packet dataplane.
    Packet,
    /// The same, told to show the masters whose packets it forwards.
    PacketUnmasked,
    /// The same, told to leave every packet to the node's stack.
    PacketStack,
    /// The same, with XDP on the node's wires.
    PacketXdp,
    /// HAProxy with the configuration in kubeadm's guide to high availability.
    HaproxyKubeadm,
    /// HAProxy with the quickest checks that make sense.
    HaproxyTuned,
    /// nginx's stream module as kubespray configures it on each node.
    Nginx,
    /// An nftables rule.
    Nftables,
    /// The same, and another that masquerades.
    NftablesMasquerade,
    /// IPVS, programmed by hand.
    #[value(name = "ipvsadm")]
    #[serde(rename = "ipvsadm")]
    IpvsByHand,
    /// lbctl's IPVS dataplane.
    Ipvs,
}

/// What the masters speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTPS.
    Tls,
    /// HTTP/1.1 without TLS.
    Plain,
}

impl Contender {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Direct,
        Self::Socket,
        Self::SocketAlone,
        Self::Packet,
        Self::PacketUnmasked,
        Self::PacketStack,
        Self::PacketXdp,
        Self::HaproxyKubeadm,
        Self::HaproxyTuned,
        Self::Nginx,
        Self::Nftables,
        Self::NftablesMasquerade,
        Self::IpvsByHand,
        Self::Ipvs,
    ];

    /// Its name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Socket => "lbctl socket",
            Self::SocketAlone => "lbctl socket, rescue off",
            Self::Packet => "lbctl packet",
            Self::PacketUnmasked => "lbctl packet, no masquerade",
            Self::PacketStack => "lbctl packet, no shortcut",
            Self::PacketXdp => "lbctl packet, XDP",
            Self::HaproxyKubeadm => "haproxy (kubeadm guide)",
            Self::HaproxyTuned => "haproxy (tuned)",
            Self::Nginx => "nginx stream (kubespray)",
            Self::Nftables => "nftables dnat",
            Self::NftablesMasquerade => "nftables dnat, masquerade",
            Self::IpvsByHand => "ipvsadm",
            Self::Ipvs => "lbctl ipvs",
        }
    }

    /// Whether it is lbctl.
    #[must_use]
    pub fn is_lbctl(self) -> bool {
        match self {
            Self::Socket
            | Self::SocketAlone
            | Self::Packet
            | Self::PacketUnmasked
            | Self::PacketStack
            | Self::PacketXdp
            | Self::Ipvs => true,
            Self::Direct
            | Self::HaproxyKubeadm
            | Self::HaproxyTuned
            | Self::Nginx
            | Self::Nftables
            | Self::NftablesMasquerade
            | Self::IpvsByHand => false,
        }
    }

    /// Starts it in the lab's node and waits until it forwards. The masters must run and speak `scheme`.
    ///
    /// # Errors
    /// When it cannot be started or does not come to forward, and after Ctrl-C.
    pub fn start(self, lab: &Lab, scheme: Scheme) -> anyhow::Result<Running> {
        ensure!(!interrupt::happened(), "start {}: interrupted", self.name());
        let started = match self {
            Self::Direct => Ok(Running::new(lab, lab.masters().iter().map(Master::address).collect())),
            Self::Socket => agent::start(lab, scheme, "socket", Told::Nothing),
            Self::SocketAlone => agent::start(lab, scheme, "socket", Told::NoRescue),
            Self::Packet => agent::start(lab, scheme, "packet", Told::Nothing),
            Self::PacketUnmasked => agent::start(lab, scheme, "packet", Told::NoMasquerade),
            Self::PacketStack => agent::start(lab, scheme, "packet", Told::NoShortcut),
            Self::PacketXdp => agent::start(lab, scheme, "packet", Told::Xdp),
            Self::Ipvs => agent::start(lab, scheme, "ipvs", Told::Nothing),
            Self::HaproxyKubeadm => proxies::haproxy(lab, proxies::HAPROXY_KUBEADM, scheme),
            Self::HaproxyTuned => proxies::haproxy(lab, proxies::HAPROXY_TUNED, scheme),
            Self::Nginx => proxies::nginx(lab),
            Self::Nftables => kernel::nftables(lab, Masquerade::No),
            Self::NftablesMasquerade => kernel::nftables(lab, Masquerade::Yes),
            Self::IpvsByHand => kernel::ipvs(lab),
        };
        started.with_context(|| format!("start {}", self.name()))
    }

    /// The configuration it was given, with `@NAMES@` where the lab's addresses go; none for those without one.
    #[must_use]
    pub fn configuration(self) -> Option<&'static str> {
        match self {
            Self::HaproxyKubeadm => Some(proxies::HAPROXY_KUBEADM),
            Self::HaproxyTuned => Some(proxies::HAPROXY_TUNED),
            Self::Nginx => Some(proxies::NGINX),
            Self::Nftables => Some(kernel::NFTABLES),
            Self::IpvsByHand => Some(kernel::IPVSADM),
            Self::Direct
            | Self::Socket
            | Self::SocketAlone
            | Self::Packet
            | Self::PacketUnmasked
            | Self::PacketStack
            | Self::PacketXdp
            | Self::NftablesMasquerade
            | Self::Ipvs => None,
        }
    }
}

impl Scheme {
    /// Builds a lab whose masters speak this.
    ///
    /// # Errors
    /// As [`Builder::build`], and when a master does not start.
    pub fn lab(self, builder: Builder) -> anyhow::Result<Lab> {
        let lab = builder.not_started().build()?;
        let launch = Launch { plain: self == Self::Plain, ..Launch::default() };
        lab.masters().iter().try_for_each(|master| master.start_as(launch))?;
        Ok(lab)
    }
}

fn vip() -> anyhow::Result<SocketAddr> {
    VIP.parse().context("read the virtual address")
}
