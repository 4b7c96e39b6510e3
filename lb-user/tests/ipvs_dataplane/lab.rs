//! A node with three masters on its network and a pod behind it, each a network namespace.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use lb_core::{
    control::{Eviction, Which},
    desired::{DesiredBackend, DesiredService, DesiredState},
    model::{Policy, Scope},
};
use lb_user::{
    dataplane::{
        DataplaneError, Plane as _,
        ipvs::{IpvsDataplane, Options},
    },
    os::netns,
};
use rustix::net::{Shutdown, shutdown};

pub const VIP: &str = "10.103.97.2:6443";
pub const VIP6: &str = "[fd00::2]:6443";
pub const NODE: &str = "192.168.77.1";

const NAMES: [&str; 5] = ["node", "pod", "m1", "m2", "m3"];

/// The kernel's modules and settings are everybody's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A network namespace, gone with its [`Lab`].
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    fn open(what: &str) -> Self {
        let name = name(what);
        let file = File::open(format!("/run/netns/{name}")).unwrap();
        Self { name, file }
    }

    /// Has ip(8) do it all at once: under emulation each start of a program counts.
    fn ip(&self, commands: &str) {
        ip_batch(&["-n", &self.name], commands);
    }

    /// Runs something in the namespace.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        netns::within(&self.file, act).unwrap()
    }

    /// Runs a shell command in the namespace; what it printed.
    pub fn sh(&self, command: &str) -> String {
        self.run(|| sh(command))
    }

    /// Connects from the namespace, and waits for the byte that says who accepted.
    pub fn connect(&self, address: &str) -> io::Result<(TcpStream, u8)> {
        let mut stream = self.dial(address)?;
        let mut name = [0];
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.read_exact(&mut name)?;
        Ok((stream, name[0]))
    }

    pub fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let address = address.parse().unwrap();
        self.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(3)))
    }
}

fn name(what: &str) -> String {
    format!("ipvs-{}-{what}", std::process::id())
}

fn ip_batch(options: &[&str], commands: &str) {
    let ip = Command::new("ip").args(options).args(["-batch", "-"]).stdin(Stdio::piped()).spawn();
    let mut ip = ip.unwrap();
    ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "{commands}");
}

pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The masters know the node's network only: they can answer nobody else.
pub struct Lab {
    pub node: Netns,
    pub pod: Netns,
    pub masters: Vec<Netns>,
    pub state: tempfile::TempDir,
    accepted: Arc<Mutex<Vec<(u8, TcpStream)>>>,
    /// Each keeps its namespace, and so what IPVS has in it, until it has ended.
    listening: Vec<(Arc<TcpListener>, thread::JoinHandle<()>)>,
    _alone: MutexGuard<'static, ()>,
}

/// The address of master 1, 2 or 3; 0 is the node itself.
pub fn master(number: u8) -> SocketAddr {
    let last = if number == 0 { 1 } else { 10 + number };
    SocketAddr::from(([192, 168, 77, last], 6443))
}

pub fn master6(number: u8) -> SocketAddr {
    let last = if number == 0 { "1".to_owned() } else { format!("1{number}") };
    format!("[fd77::{last}]:6443").parse().unwrap()
}

impl Lab {
    pub fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let all = NAMES.map(|what| format!("netns add {}\n", name(what))).concat();
        ip_batch(&[], &all);
        let mut lab = Self {
            node: Netns::open("node"),
            pod: Netns::open("pod"),
            masters: ["m1", "m2", "m3"].map(Netns::open).into(),
            state: tempfile::tempdir().unwrap(),
            accepted: Arc::default(),
            listening: Vec::new(),
            _alone: alone,
        };
        lab.wire();
        for n in 0..=3 {
            lab.listen(n);
        }
        lab
    }

    fn wire(&self) {
        let veth = |end: &str, netns: &Netns, more: &str| {
            // Without a link-local address, which would come a second after the others.
            format!(
                "link add {end} type veth peer name eth0 netns {}
                 link set {end} addrgenmode none\nlink set {end} up {more}\n",
                netns.name
            )
        };
        let masters = || (1..).zip(&self.masters);
        let to_masters: String = masters().map(|(n, m)| veth(&format!("m{n}"), m, "master lan")).collect();
        self.node.ip(&format!(
            "link set lo up\nlink add lan type bridge\nlink set lan addrgenmode none\nlink set lan up\n{to_masters}\
             addr add {NODE}/24 dev lan\naddr add fd77::1/64 dev lan nodad\n{}\
             addr add 10.244.77.1/24 dev pod0\naddr add fd44::1/64 dev pod0 nodad\n",
            veth("pod0", &self.pod, "")
        ));
        self.node.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        self.pod.ip("link set lo up\nlink set eth0 up
             addr add 10.244.77.2/24 dev eth0\naddr add fd44::2/64 dev eth0 nodad
             route add default via 10.244.77.1\nroute add default via fd44::1\n");
        for (n, master) in masters() {
            master.ip(&format!(
                "link set lo up\nlink set eth0 up
                 addr add 192.168.77.1{n}/24 dev eth0\naddr add fd77::1{n}/64 dev eth0 nodad\n"
            ));
        }
    }

    /// Accepts on both families of a master (0: the node itself), says its number, and keeps what it accepted.
    fn listen(&mut self, number: u8) {
        for address in [master(number), master6(number)] {
            let netns = if number == 0 { &self.node } else { &self.masters[usize::from(number) - 1] };
            let listener = Arc::new(netns.run(|| TcpListener::bind(address)).unwrap());
            let (accepted, accepting) = (self.accepted.clone(), Arc::clone(&listener));
            let thread = thread::spawn(move || {
                while let Ok((mut stream, _)) = accepting.accept() {
                    // One that has gone again is none.
                    if stream.write_all(&[number]).is_ok() {
                        accepted.lock().unwrap().push((number, stream));
                    }
                }
            });
            self.listening.push((listener, thread));
        }
    }

    /// Whom a master saw last.
    pub fn last_client(&self, number: u8) -> Option<IpAddr> {
        let accepted = self.accepted.lock().unwrap();
        let last = accepted.iter().rev().find(|(n, _)| *n == number)?;
        Some(last.1.peer_addr().ok()?.ip())
    }

    pub fn options(&self, scope: Scope) -> Options {
        Options { scope, state_dir: self.state.path().to_owned() }
    }

    pub fn open(&self, scope: Scope) -> IpvsDataplane {
        self.node.run(|| IpvsDataplane::open(self.options(scope))).unwrap()
    }

    pub fn reconcile(
        &self,
        plane: &mut IpvsDataplane,
        desired: &DesiredState,
    ) -> Result<usize, DataplaneError> {
        self.node.run(|| plane.reconcile(desired))
    }

    /// What ipvsadm lists, without its heading, each line's words separated by one blank: protocol, address, scheduler
    /// and flags; and address, method and weight.
    pub fn listed(&self) -> Vec<String> {
        let text = self.node.sh("ipvsadm -Ln");
        let entries = text.lines().filter(|line| line.starts_with("TCP") || line.contains("->")).skip(1);
        let words = entries.map(|line| {
            let words = line.split_ascii_whitespace();
            let kept = if line.starts_with("TCP") { usize::MAX } else { 4 };
            words.take(kept).collect::<Vec<_>>().join(" ")
        });
        words.collect()
    }
}

/// `serving`: masters with weights; `members`: those that take nobody; `severed`: those that are cut off.
/// All connections through the VIP to a backend.
pub fn all_of(backend: SocketAddr) -> Eviction {
    let vip = if backend.is_ipv4() { VIP } else { VIP6 };
    Eviction { pair: (vip.parse().unwrap(), backend), which: Which::All }
}

pub fn service(vip: &str, serving: &[(u8, u32)], members: &[u8], severed: &[u8]) -> DesiredService {
    let vip: SocketAddr = vip.parse().unwrap();
    let at = |n: &u8| if vip.is_ipv4() { master(*n) } else { master6(*n) };
    DesiredService {
        name: "apiserver".parse().unwrap(),
        vip,
        policy: Policy::RoundRobin,
        serving: serving
            .iter()
            .map(|(n, weight)| DesiredBackend { address: at(n), weight: *weight })
            .collect(),
        members: serving.iter().map(|(n, _)| n).chain(members).chain(severed).map(at).collect(),
        reserve: std::collections::BTreeSet::new(),
        severed: severed.iter().map(at).collect(),
    }
}

pub fn desired(services: impl IntoIterator<Item = DesiredService>) -> DesiredState {
    DesiredState { services: services.into_iter().collect() }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for (listener, thread) in self.listening.drain(..) {
            shutdown(&listener, Shutdown::Both).unwrap();
            thread.join().unwrap();
        }
        ip_batch(&[], &NAMES.map(|what| format!("netns del {}\n", name(what))).concat());
    }
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
