//! The socket dataplane on this machine's kernel. Needs root, cgroup v2 and bpffs. All traffic stays on loopback,
//! whether the programs work or not: the VIPs are loopback addresses on which nobody listens.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lb_core::{
    control::{Eviction, Which},
    desired::DesiredState,
    model::Scope,
};
use lb_user::{
    dataplane::{
        Dataplane as _,
        services::{
            ServiceChange,
            native::{Choice, Serving, TableService},
        },
        socket::{BpfLog, Change, Hook, Options, SocketDataplane},
    },
    os::cgroup,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A cgroup of this test process's own, in which it lives while any test runs; the last one to end removes it.
static CGROUP: LazyLock<PathBuf> =
    LazyLock::new(|| cgroup::root().unwrap().join(format!("lbctl-socket-test-{}", std::process::id())));

/// The tests that need the cgroup now.
static INSIDE: Mutex<usize> = Mutex::new(0);

fn enter_cgroup() {
    let mut inside = INSIDE.lock().unwrap();
    if *inside == 0 {
        fs::create_dir(&*CGROUP).unwrap();
        cgroup::enter(&CGROUP).unwrap();
    }
    *inside += 1;
}

fn leave_cgroup() -> io::Result<()> {
    let mut inside = INSIDE.lock().unwrap();
    *inside -= 1;
    if *inside > 0 {
        return Ok(());
    }
    cgroup::enter(CGROUP.parent().unwrap())?;
    fs::remove_dir(&*CGROUP)
}

/// A bpffs of the test's own.
struct Bpffs(tempfile::TempDir);

impl Bpffs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount("test", dir.path(), "bpf", MountFlags::empty(), None).unwrap();
        enter_cgroup();
        Self(dir)
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("lbctl")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let cleaned = SocketDataplane::cleanup(&self.path());
        let unmounted = unmount(self.0.path(), UnmountFlags::DETACH);
        let left = leave_cgroup();
        if !thread::panicking() {
            cleaned.unwrap();
            unmounted.unwrap();
            left.unwrap();
        }
    }
}

fn options(bpffs: &Bpffs) -> Options {
    Options {
        bpffs: bpffs.path(),
        cgroup: CGROUP.clone(),
        scope: Scope::Host,
        node: "node".to_owned(),
        rescue: true,
        log: BpfLog::Off,
    }
}

fn open(bpffs: &Bpffs) -> SocketDataplane {
    let (mut dataplane, _) = SocketDataplane::open(options(bpffs)).unwrap();
    let wanted = dataplane.lower(&Default::default()).unwrap();
    let mut observed = dataplane.observe(&DesiredState::default()).unwrap();
    observed.services.clear();
    for change in SocketDataplane::diff(&observed, &wanted) {
        dataplane.apply(&change).unwrap();
    }
    dataplane
}

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Accepts and closes, for as long as the process lives.
fn accept_all(listener: &TcpListener) {
    let listener = listener.try_clone().unwrap();
    thread::spawn(move || while listener.accept().is_ok() {});
}

fn serving(backends: &[SocketAddr]) -> Serving {
    Serving {
        policy: Choice::RoundRobin,
        weights: backends.iter().map(|b| (*b, 1)).collect(),
        reserve: BTreeSet::new(),
    }
}

fn add(dataplane: &mut SocketDataplane, vip: &str, backends: &[SocketAddr]) -> SocketAddr {
    let vip = vip.parse().unwrap();
    let service = TableService {
        name: "test".parse().unwrap(),
        serving: serving(backends),
        members: backends.iter().copied().collect(),
    };
    dataplane.apply(&Change::Service(ServiceChange::Add(vip, service))).unwrap();
    vip
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(5), "not within 5 s: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connect_to_the_vip_reaches_a_backend_and_shows_the_vip() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let (listener, backend) = listen("127.0.0.1:0");
    let vip = add(&mut dataplane, "127.103.97.2:6443", &[backend]);
    let stream = TcpStream::connect(vip).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), vip);
    assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
    let counters = dataplane.counters().unwrap()[&(vip, backend)];
    assert_eq!((counters.total, counters.active, counters.refused), (1, 1, 0));
    drop(stream);
    eventually("the connection is counted out", || {
        dataplane.counters().unwrap()[&(vip, backend)].active == 0
    });
}

#[test]
fn a_v4_mapped_connect_is_translated_like_an_ipv4_one() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let (_listener, backend) = listen("127.0.0.1:0");
    add(&mut dataplane, "127.103.97.3:443", &[backend]);
    let mapped: SocketAddr = "[::ffff:127.103.97.3]:443".parse().unwrap();
    let stream = TcpStream::connect(mapped).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), mapped);
}

#[test]
fn an_ipv6_vip_reaches_an_ipv6_backend() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let (_listener, backend) = listen("[::1]:0");
    let vip = add(&mut dataplane, "[::1]:1", &[backend]);
    assert_eq!(TcpStream::connect(vip).unwrap().peer_addr().unwrap(), vip);
}

#[test]
fn a_service_without_backends_refuses_at_once() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let vip = add(&mut dataplane, "127.103.97.4:6443", &[]);
    let error = TcpStream::connect(vip).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::HOSTUNREACH.raw_os_error()), "{error}");
}

#[test]
fn a_connect_elsewhere_is_untouched() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let (_listener, backend) = listen("127.0.0.1:0");
    add(&mut dataplane, "127.0.0.1:1", &[backend]);
    assert_eq!(TcpStream::connect(backend).unwrap().peer_addr().unwrap(), backend);
}

#[test]
fn a_refused_connect_is_counted() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let (listener, backend) = listen("127.0.0.1:0");
    drop(listener);
    let vip = add(&mut dataplane, "127.103.97.5:6443", &[backend]);
    assert_eq!(TcpStream::connect(vip).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let counters = dataplane.counters().unwrap()[&(vip, backend)];
    assert_eq!((counters.total, counters.active, counters.refused), (1, 0, 1));
}

#[test]
fn round_robin_takes_turns() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let listeners: Vec<_> = (0..3).map(|_| listen("127.0.0.1:0")).collect();
    let backends: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    let vip = add(&mut dataplane, "127.103.97.6:6443", &backends);
    for _ in 0..30 {
        TcpStream::connect(vip).unwrap();
    }
    let counters = dataplane.counters().unwrap();
    assert!(backends.iter().all(|b| counters[&(vip, *b)].total == 10), "{counters:?}");
}

#[test]
fn random_follows_the_weights() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let listeners: Vec<_> = (0..2).map(|_| listen("127.0.0.1:0")).collect();
    listeners.iter().for_each(|(listener, _)| accept_all(listener));
    let backends: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    let vip = add(&mut dataplane, "127.103.97.7:6443", &backends);
    let weights = BTreeMap::from([(backends[0], 3), (backends[1], 1)]);
    dataplane
        .apply(&Change::Service(ServiceChange::SetServing(
            vip,
            Serving { policy: Choice::Random, weights, reserve: BTreeSet::new() },
        )))
        .unwrap();
    for _ in 0..2000 {
        TcpStream::connect(vip).unwrap();
    }
    let heavy = dataplane.counters().unwrap()[&(vip, backends[0])].total;
    // Mean 1500, standard deviation 19: six of them on either side.
    assert!((1385..1615).contains(&heavy), "{heavy}");
}

#[test]
fn sockets_on_a_dead_backend_are_ended_and_no_others() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let (_dead_listener, dead) = listen("127.0.0.1:0");
    let (_live_listener, live) = listen("127.0.0.1:0");
    let vip = add(&mut dataplane, "127.103.97.8:6443", &[dead]);
    let direct = TcpStream::connect(dead).unwrap();
    let mut hanging = TcpStream::connect(vip).unwrap();
    let mapped: SocketAddr = "[::ffff:127.103.97.8]:6443".parse().unwrap();
    let mut mapped = TcpStream::connect(mapped).unwrap();
    dataplane.apply(&Change::Service(ServiceChange::AddMember(vip, live))).unwrap();
    dataplane.apply(&Change::Service(ServiceChange::SetServing(vip, serving(&[live])))).unwrap();
    let mut well = TcpStream::connect(vip).unwrap();
    let evicted = dataplane.evict(&[Eviction { pair: (vip, dead), which: Which::All }]).unwrap();
    assert_eq!((evicted.ended, evicted.failed), (2, 0));
    for stream in [&mut hanging, &mut mapped] {
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
    well.set_nonblocking(true).unwrap();
    assert_eq!(well.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(direct.take_error().unwrap().is_none(), "a connection that did not go through the VIP stays");
}

#[test]
fn a_new_agent_finds_what_the_old_one_left() {
    let bpffs = Bpffs::new();
    let (_listener, backend) = listen("127.0.0.1:0");
    let mut dataplane = open(&bpffs);
    let vip = add(&mut dataplane, "127.103.97.9:6443", &[backend]);
    let stream = TcpStream::connect(vip).unwrap();
    let before = dataplane.observe(&DesiredState::default()).unwrap();
    drop(dataplane);
    TcpStream::connect(vip).unwrap();
    let (mut dataplane, _) = SocketDataplane::open(options(&bpffs)).unwrap();
    assert_eq!(dataplane.observe(&DesiredState::default()).unwrap(), before);
    assert_eq!(stream.peer_addr().unwrap(), vip);
    assert_eq!(dataplane.counters().unwrap()[&(vip, backend)].total, 2);
}

#[test]
fn upgrades_under_load_drop_no_connect() {
    let bpffs = Bpffs::new();
    let (listener, backend) = listen("127.0.0.1:0");
    accept_all(&listener);
    let mut dataplane = open(&bpffs);
    let vip = add(&mut dataplane, "127.103.97.10:6443", &[backend]);
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let stream = TcpStream::connect(vip)?;
                assert_eq!(stream.peer_addr()?, vip);
                made.fetch_add(1, Ordering::Relaxed);
            }
            io::Result::Ok(())
        });
        for _ in 0..20 {
            drop(SocketDataplane::open(options(&bpffs)).unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap().unwrap();
    });
    assert!(made.load(Ordering::Relaxed) > 100);
}

/// Two sets whose members differ in address and port together: a mix of both would be a torn read.
#[test]
fn readers_never_see_a_torn_set() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let sets = [1_u8, 2].map(|net| {
        let (listener, any) = listen("0.0.0.0:0");
        let members: Vec<_> = (1..=40).map(|n| SocketAddr::from(([127, 77, net, n], any.port()))).collect();
        (listener, members)
    });
    let torn = Arc::new(AtomicU64::new(0));
    for (net, (listener, _)) in [1_u8, 2].into_iter().zip(&sets) {
        let (listener, torn) = (listener.try_clone().unwrap(), torn.clone());
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                match stream.local_addr() {
                    Ok(SocketAddr::V4(a)) if a.ip().octets()[2] == net => {}
                    _ => _ = torn.fetch_add(1, Ordering::Relaxed),
                }
            }
        });
    }
    let vip = add(&mut dataplane, "127.103.97.11:6443", &sets[0].1);
    for member in &sets[1].1 {
        dataplane.apply(&Change::Service(ServiceChange::AddMember(vip, *member))).unwrap();
    }
    let (stop, made, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let counter = if TcpStream::connect(vip).is_ok() { &made } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut round = 0;
        while round < 200 || made.load(Ordering::Relaxed) < 2000 {
            let members = &sets[round % 2].1;
            dataplane
                .apply(&Change::Service(ServiceChange::SetServing(vip, serving(&members[..1 + round % 40]))))
                .unwrap();
            round += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((failed.load(Ordering::Relaxed), torn.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_link_whose_cgroup_died_is_seen_and_replaced() {
    let bpffs = Bpffs::new();
    let dying = CGROUP.join("dying");
    fs::create_dir(&dying).unwrap();
    let mut at_dying = options(&bpffs);
    at_dying.cgroup = dying.clone();
    let (mut dataplane, _) = SocketDataplane::open(at_dying).unwrap();
    for hook in Hook::ALL {
        dataplane.apply(&Change::Attach(hook)).unwrap();
    }
    drop(dataplane);
    fs::remove_dir(&dying).unwrap();
    let (mut dataplane, _) = SocketDataplane::open(options(&bpffs)).unwrap();
    assert_eq!(dataplane.observe(&DesiredState::default()).unwrap().hooks, BTreeSet::new());
    drop(dataplane);
    let mut dataplane = open(&bpffs);
    assert_eq!(dataplane.observe(&DesiredState::default()).unwrap().hooks.len(), Hook::ALL.len());
    let proof = dataplane.prove().unwrap();
    assert!(proof.connect4 && proof.connect6);
}

#[test]
fn pins_of_an_older_layout_go_when_the_new_one_works() {
    let bpffs = Bpffs::new();
    let older = bpffs.path().join("v0/links");
    fs::create_dir_all(&older).unwrap();
    let mut dataplane = open(&bpffs);
    assert!(bpffs.path().join("v0").exists(), "both are there while the new one is being made");
    dataplane.settle().unwrap();
    assert!(!bpffs.path().join("v0").exists());
    assert!(bpffs.path().join("v1").exists());
}

#[test]
fn cleanup_leaves_nothing_and_can_be_run_twice() {
    let bpffs = Bpffs::new();
    let mut dataplane = open(&bpffs);
    let vip = add(&mut dataplane, "127.103.97.12:6443", &[]);
    assert_eq!(
        TcpStream::connect(vip).unwrap_err().raw_os_error(),
        Some(rustix::io::Errno::HOSTUNREACH.raw_os_error())
    );
    drop(dataplane);
    assert_eq!(SocketDataplane::cleanup(&bpffs.path()).unwrap().len(), 1);
    assert_eq!(entries(bpffs.0.path()), Vec::<PathBuf>::new());
    assert!(SocketDataplane::cleanup(&bpffs.path()).unwrap().is_empty());
    assert_eq!(TcpStream::connect(vip).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// What is pinned; names with a dot are the kernel's own (BPF_PRELOAD).
fn entries(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_none()).collect()
}
