use std::fmt;

use serde::{Serialize, Serializer};

/// Codes, as they are written, and what each looks at.
macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $text:literal,)+) => {
        /// What a finding is about. Stable: scripts and the documentation name findings by it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$meta])* $variant,)+
        }

        impl Code {
            /// Every code, in the order in which findings are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

codes! {
    /// The config file and the flags.
    Config = "CONFIG",
    /// What this process may do.
    Capabilities = "CAPABILITIES",
    /// Whether an agent runs.
    Agent = "AGENT",
    /// Whether a dataplane can be used.
    Dataplane = "DATAPLANE",
    /// What the kernel has for the socket dataplane.
    SocketKernel = "SOCKET-KERNEL",
    /// What the kernel has for the IPVS dataplane.
    IpvsKernel = "IPVS-KERNEL",
    /// What the kernel has for the packet dataplane.
    PacketKernel = "PACKET-KERNEL",
    /// The root of the cgroup-v2 hierarchy.
    CgroupRoot = "CGROUP-ROOT",
    /// The BPF file system.
    Bpffs = "BPFFS",
    /// The limit of locked memory, before Linux 5.11.
    Memlock = "MEMLOCK",
    /// Whether the kernel can end sockets.
    SockDestroy = "SOCK-DESTROY",
    /// Whether connects to the VIP are steered.
    HookEffect = "HOOK-EFFECT",
    /// Programs of others on the same cgroup hooks.
    HookForeign = "HOOK-FOREIGN",
    /// The interfaces of the packet dataplane.
    PacketInterfaces = "PACKET-INTERFACES",
    /// Whether the kernel forwards, for clients that are not on the node.
    PacketForwarding = "PACKET-FORWARDING",
    /// The ports that connections get on their way.
    PacketPorts = "PACKET-PORTS",
    /// Programs of others on the hooks of the packet dataplane.
    TcForeign = "TC-FOREIGN",
    /// Whether XDP is used where it should be.
    PacketXdp = "PACKET-XDP",
    /// Somebody else's IPVS service at a VIP.
    IpvsForeign = "IPVS-FOREIGN",
    /// kube-proxy in IPVS mode.
    KubeProxy = "KUBE-PROXY",
    /// A VIP that an interface of the node has.
    VipInterface = "VIP-INTERFACE",
    /// Whether this node answers ARP for a VIP.
    VipArp = "VIP-ARP",
    /// A VIP inside the cluster's own address ranges.
    VipCidr = "VIP-CIDR",
    /// Our entry in the hosts file.
    HostsEntry = "HOSTS-ENTRY",
    /// Other lines for our names.
    HostsForeign = "HOSTS-FOREIGN",
    /// cloud-init, which may write the hosts file anew.
    HostsCloudInit = "HOSTS-CLOUD-INIT",
    /// Whether the hosts file is asked, and first.
    Nsswitch = "NSSWITCH",
    /// Proxy settings that would send requests for the VIP elsewhere.
    Proxy = "PROXY",
    /// Whether a backend answers at all.
    Backend = "BACKEND",
    /// Names in the apiservers' certificates.
    CertNames = "CERT-NAMES",
    /// When the apiservers' certificates end.
    CertExpiry = "CERT-EXPIRY",
    /// This node's clock beside the backends'.
    ClockSkew = "CLOCK-SKEW",
    /// firewalld.
    Firewalld = "FIREWALLD",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
