//! Programs of others on the TCX hooks that ours are on, as Cilium's are: those that pass packets on, in front of ours and behind,
//! and one that does not. Before Linux 6.6 others have filters, see `foreign`.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::Duration;

use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use lb_tests::Lab;
use lb_tests::lab::VIP;
use lb_tests::wait::eventually;
use lb_user::os::bpf::{self, Kind};
use lb_user::os::netns;
use serde_json::Value;

use super::counting::{Counter, counting};
use super::setup::{await_connect, clients, ready, running, started};
use crate::common::SOON;
use crate::common::agent::unhurried;
use crate::common::load::{Load, assert_untouched, figure, requests, syn};
use crate::common::quiet::alone;

/// TCX_NEXT and TCX_PASS, include/uapi/linux/bpf.h: the next program decides, or none does.
const NEXT: i32 = -1;
const PASS: i32 = 0;
/// Where the virtual machine's packets come and go, and those of the masters.
const PLACES: [(&str, TcAttachType); 4] = [
    ("tap0", TcAttachType::Ingress),
    ("tap0", TcAttachType::Egress),
    ("eth0", TcAttachType::Ingress),
    ("eth0", TcAttachType::Egress),
];
/// Far longer than an agent needs to end on SIGTERM.
const END: Duration = Duration::from_secs(5);

/// Somebody else's program, which counts packets; it goes when dropped.
pub struct Foreign {
    counter: Counter,
    _link: FdLink,
}

impl Foreign {
    fn attach(lab: &Lab, name: &str, verdict: i32, place: (&str, TcAttachType), order: LinkOrder) -> Self {
        let (interface, direction) = place;
        let (program, counter) = counting(Kind::Classifier, name, verdict);
        let pin = lab.pins().parent().unwrap().join(format!("{name}-{interface}-{direction:?}"));
        bpf::pin(program.as_fd(), &pin).unwrap();
        let mut program = SchedClassifier::from_pin(&pin).unwrap();
        std::fs::remove_file(&pin).unwrap();
        let node = File::open(lab.node().host().netns().path()).unwrap();
        let link = netns::within(&node, || {
            let options = TcAttachOptions::TcxOrder(order);
            let id = program.attach_with_options(interface, direction, options).unwrap();
            program.take_link(id).unwrap().try_into().unwrap()
        })
        .unwrap();
        Self { counter, _link: link }
    }

    /// One that passes packets on, at each place.
    fn everywhere(lab: &Lab, name: &str, order: fn() -> LinkOrder) -> Vec<Self> {
        PLACES.map(|place| Self::attach(lab, name, NEXT, place, order())).into()
    }

    /// One that passes packets on which come in by an interface, behind ours.
    pub fn behind(lab: &Lab, interface: &'static str) -> Self {
        Self::attach(lab, "behind", NEXT, (interface, TcAttachType::Ingress), LinkOrder::last())
    }

    /// How many packets it has seen.
    pub fn count(&self) -> u32 {
        self.counter.count()
    }
}

/// Whether the kernel has TCX; who reads the figures learns where it has not.
pub fn has_tcx() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let has = (numbers.next(), numbers.next()) >= (Some(6), Some(6));
    if !has {
        figure(&format!("Linux {release} has no TCX: nothing to try"));
    }
    has
}

/// What `lbctl doctor` finds about programs of others: how bad, and the whole of it.
fn finding(lab: &Lab) -> (String, String) {
    let doctor = lab.lbctl(&["doctor", "-o", "json"]).unwrap();
    let all: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let is_it = |finding: &&Value| finding["code"] == "TC-FOREIGN";
    let found = all["findings"].as_array().unwrap().iter().find(is_it).unwrap();
    (found["severity"].as_str().unwrap().to_owned(), found.to_string())
}

/// Has each client ask; every one of these programs sees packets of that.
fn all_are_served_and_seen(lab: &Lab, when: &str, foreign: &[&Vec<Foreign>]) {
    let counts = || foreign.iter().flat_map(|all| all.iter().map(Foreign::count)).collect::<Vec<_>>();
    let before = counts();
    for (who, client) in clients(lab) {
        let report = requests(client, VIP, "v4", 8);
        assert_eq!((report.ok(), report.failed()), (8, 0), "{who}, {when}: {report:?}");
    }
    let after = counts();
    figure(&format!("{when}: programs of others had seen {before:?} packets, then {after:?}"));
    assert!(before.iter().zip(&after).all(|(before, after)| after >= &(before + 8)), "{when}");
}

#[test]
fn programs_of_others_that_pass_packets_on_see_them_before_and_behind_ours() {
    let _turn = alone();
    if !has_tcx() {
        return;
    }
    let Some((lab, agent)) = running(2, unhurried) else { return };
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    // Ours are put first: what was there is behind them.
    let behind = Foreign::everywhere(&lab, "behind", LinkOrder::last);
    let mut agent = started(&lab);
    all_are_served_and_seen(&lab, "before one that was there", &[&behind]);
    assert_eq!(finding(&lab).0, "ok", "{}", finding(&lab).1);
    let loads = clients(&lab).map(|(who, client)| (who, Load::on(&lab, client, "v4", 2, 4)));
    loads.iter().for_each(|(_, load)| load.more(20));
    let before = Foreign::everywhere(&lab, "before", LinkOrder::first);
    all_are_served_and_seen(&lab, "between two", &[&behind, &before]);
    agent.kill().unwrap();
    agent = started(&lab);
    all_are_served_and_seen(&lab, "after the agent was killed", &[&behind, &before]);
    // Each start replaces the programs, in their place; every other one by those that tell what they decide.
    for arguments in [&["--bpf-log", "debug"][..], &[]] {
        assert_eq!(agent.terminate(END).unwrap().code(), 0);
        agent = lab.spawn_agent(arguments).unwrap();
        agent.await_answer().unwrap();
        ready(&agent);
        all_are_served_and_seen(&lab, "after programs were replaced", &[&behind, &before]);
    }
    loads.iter().for_each(|(_, load)| load.more(20));
    for (who, load) in loads {
        let report = load.stop();
        figure(&format!(
            "{who}: {} requests, {} failed, {} broken",
            report.ok(),
            report.failed(),
            report.broken()
        ));
        assert_untouched(&report);
    }
    let (severity, found) = finding(&lab);
    let told = PLACES.map(|(interface, _)| interface).iter().all(|interface| found.contains(interface));
    assert!(severity == "warn" && told && found.contains("before") && !found.contains("behind"), "{found}");
    drop(before);
    assert_eq!(finding(&lab).0, "ok", "{}", finding(&lab).1);
}

/// What lbctl says while somebody's program keeps packets from ours, here where the virtual machine's come in and where the
/// masters' do.
#[test]
fn a_program_of_others_that_takes_packets_away_before_ours_is_named() {
    let _turn = alone();
    if !has_tcx() {
        return;
    }
    let Some((lab, _agent)) = running(2, unhurried) else { return };
    let held = Load::on(&lab, lab.vm(), "v4", 0, 4);
    for place in [PLACES[0], PLACES[2]] {
        let (interface, _) = place;
        assert_eq!(requests(lab.vm(), VIP, "v4", 4).ok(), 4, "before");
        let greedy = Foreign::attach(&lab, "greedy", PASS, place, LinkOrder::first());
        let report = lab.vm().client(&["syn", "--to", VIP, "--connect-timeout", "500ms"]).unwrap();
        assert!(report["result"] != "connected" && greedy.count() > 0, "{interface}: {report}");
        let (severity, found) = finding(&lab);
        figure(&format!("{interface}: {found}"));
        assert_eq!(severity, "warn", "{found}");
        let named = |text: &str| ["greedy", interface, "in"].iter().all(|word| text.contains(word));
        assert!(named(&found), "{found}");
        eventually(SOON, "status names it", || {
            let status = lab.lbctl(&["status"]).unwrap().stdout;
            let of_it = status.lines().any(|line| named(line) && line.contains("before ours"));
            if of_it { Ok(()) } else { Err(status) }
        })
        .unwrap();
        drop(greedy);
        await_connect(lab.vm(), "served again without it", SOON);
        assert_eq!(finding(&lab).0, "ok", "{}", finding(&lab).1);
        assert_eq!(syn(lab.node(), VIP).0, "connected");
    }
    let held = held.stop();
    assert_eq!(held.broken(), 0, "connections go on when it is gone: {held:?}");
}
