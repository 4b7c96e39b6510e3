//! What a kubelet that starts finds: the node programmed, or connects that fail at once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use common::agent::running;
use common::load::{figure, ms, requests, syn};
use common::quiet::beside_others;
use common::{SOON, lab};
use lb_tests::lab::{HOSTNAME, VIP};
use lb_tests::process::Proc;
use lb_tests::slowness::stretched;
use lb_tests::{Lab, binaries};

/// What a connect() may take that fails at once.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Gives the node a way out of its network on which nobody answers: where a packet to the virtual address would go.
fn lead_nowhere(lab: &Lab) {
    for words in [
        "ip neigh replace 192.168.77.254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent",
        "ip route replace default via 192.168.77.254",
    ] {
        lab.node().run(&words.split(' ').collect::<Vec<_>>()).unwrap().success().unwrap();
    }
}

/// Runs what the drop-in has systemd run before the kubelet.
fn run_dropin(lab: &Lab) {
    let dropin = lab.lbctl(&["manifest", "kubelet-dropin"]).unwrap().success().unwrap();
    let mut commands = dropin.lines().filter_map(|line| line.strip_prefix("ExecStartPre=-"));
    let command = commands.next().unwrap();
    assert_eq!(commands.next(), None, "one service");
    lab.node().run(&command.split(' ').collect::<Vec<_>>()).unwrap().success().unwrap();
}

/// The kernel's state goes, files stay.
fn reboot(lab: &Lab) {
    std::fs::remove_dir_all(lab.pins()).unwrap();
}

#[test]
fn after_a_reboot_connects_fail_at_once_until_the_agent_runs() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lead_nowhere(&lab);
    let mut agent = running(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10);
    agent.kill().unwrap();
    reboot(&lab);
    assert!(
        std::fs::read_to_string(lab.hosts_file()).unwrap().contains(HOSTNAME),
        "the entry outlives the kernel's state"
    );
    let (result, took) = syn(lab.node(), VIP);
    assert!(result != "connected" && took >= 4_000, "without the drop-in it hangs: {result} after {took} ms");
    run_dropin(&lab);
    let (result, took) = syn(lab.node(), VIP);
    figure(&format!("with the drop-in: {result} after {took} ms"));
    assert!(result != "connected" && i64::try_from(took).unwrap() <= ms(AT_ONCE), "{result} after {took} ms");
    let _agent = running(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 50).ok(), 50, "the route is in nobody's way");
}

/// An agent that somebody waits for, and where it says that it is ready.
fn awaited(lab: &Lab) -> (Proc, UnixDatagram) {
    let path = lab.dir().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(stretched(SOON))).unwrap();
    lab.agent_config(|_| ()).unwrap();
    let words = [
        format!("NOTIFY_SOCKET={}", path.display()),
        binaries::lbctl().unwrap().to_string_lossy().into_owned(),
        format!("--config={}", lab.config_file().display()),
        "run".to_owned(),
    ];
    (lab.node().spawn(Path::new("env"), &words).unwrap(), socket)
}

fn ready(socket: &UnixDatagram) {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..length]).trim(), "READY=1");
}

#[test]
fn systemd_is_told_once_the_node_is_programmed() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let (_agent, socket) = awaited(&lab);
    ready(&socket);
    // At that very moment, without waiting for anything.
    assert_eq!(requests(lab.node(), VIP, "v4", 20).ok(), 20);
    assert!(std::fs::read_to_string(lab.hosts_file()).unwrap().contains(HOSTNAME));
}

#[test]
fn systemd_is_told_on_the_very_first_master_too_where_nothing_answers_yet() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    lead_nowhere(&lab);
    let began = Instant::now();
    let (_agent, socket) = awaited(&lab);
    ready(&socket);
    figure(&format!("ready after {:.2?} without a master", began.elapsed()));
    let (result, took) = syn(lab.node(), VIP);
    assert!(result != "connected" && i64::try_from(took).unwrap() <= ms(AT_ONCE), "{result} after {took} ms");
    lab.master(0).start().unwrap();
    lb_tests::wait::eventually(SOON, "it serves", || {
        let report = requests(lab.node(), VIP, "v4", 1);
        if report.ok() == 1 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .unwrap();
}
