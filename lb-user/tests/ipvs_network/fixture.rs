//! A node with a pod behind its bridge and a master on its network, each a network namespace.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use lb_user::os::netns;

/// A network namespace with its loopback up, gone when dropped.
pub struct Netns {
    pub name: String,
    file: File,
}

impl Netns {
    pub fn new(what: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("ipvsnet-{}-{number}-{what}", std::process::id());
        sh(&format!("ip netns add {name} && ip -n {name} link set lo up"));
        let file = File::open(format!("/run/netns/{name}")).unwrap();
        Self { name, file }
    }

    /// Runs something in the namespace.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        netns::within(&self.file, act).unwrap()
    }

    /// Runs a shell command in the namespace; what it printed.
    pub fn sh(&self, command: &str) -> String {
        self.run(|| sh(command))
    }

    /// Listens in the namespace; whom it accepted, one address after the other. It ends when the receiver is dropped
    /// and one more connects.
    pub fn accept(&self, address: &str) -> mpsc::Receiver<SocketAddr> {
        let listener = self.run(|| TcpListener::bind(address)).unwrap();
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((_, peer)) = listener.accept() {
                if tx.send(peer).is_err() {
                    break;
                }
            }
        });
        rx
    }

    /// Connects from the namespace.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(900)))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        sh(&format!("ip netns del {}", self.name));
    }
}

pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The master knows the node only, not the pods: it can answer nobody else.
pub struct Lab {
    pub node: Netns,
    pub pod: Netns,
    pub master: Netns,
}

/// One of the addresses in [`Lab`].
pub fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub const NODE: &str = "192.168.77.1";
pub const NODE6: &str = "fd77::1";
pub const MASTER: &str = "192.168.77.3";
pub const MASTER6: &str = "fd77::3";

impl Lab {
    pub fn new() -> Self {
        let lab = Self { node: Netns::new("node"), pod: Netns::new("pod"), master: Netns::new("master") };
        let (pod, master) = (&lab.pod.name, &lab.master.name);
        lab.node.sh(&format!(
            "ip link add br0 type bridge
             ip link set br0 up
             ip link add pod0 type veth peer name eth0 netns {pod}
             ip link set pod0 up master br0
             ip addr add 10.244.77.1/24 dev br0
             ip addr add fd44::1/64 dev br0 nodad
             ip link add eth0 type veth peer name eth0 netns {master}
             ip link set eth0 up
             ip addr add {NODE}/24 dev eth0
             ip addr add {NODE6}/64 dev eth0 nodad"
        ));
        lab.node.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        lab.pod.sh("ip link set eth0 up
             ip addr add 10.244.77.2/24 dev eth0
             ip addr add fd44::2/64 dev eth0 nodad
             ip route add default via 10.244.77.1
             ip route add default via fd44::1");
        lab.master.sh(&format!(
            "ip link set eth0 up
             ip addr add {MASTER}/24 dev eth0
             ip addr add {MASTER6}/64 dev eth0 nodad"
        ));
        lab
    }
}
