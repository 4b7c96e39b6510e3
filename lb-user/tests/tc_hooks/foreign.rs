use std::{collections::BTreeSet, os::fd::AsFd as _, path::Path};

use aya::programs::{
    LinkOrder, ProgramInfo, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{SchedClassifierLinkId, TcAttachOptions},
};
use lb_user::dataplane::tc::{Foreign, Hooks, Mechanism, Title};

use crate::trial::{Bench, Counting, NEXT, PASS, by_each, inward, knock, number, outward};

/// Pins a program.
pub fn pin(counting: &Counting, path: &Path) {
    let fd = counting.program.as_fd().try_clone_to_owned().unwrap();
    lb_user::os::bpf::pin(fd.as_fd(), path).unwrap();
}

/// Attaches somebody else's program by TCX.
fn attach(bench: &Bench<'_>, counting: &Counting, interface: &str, order: LinkOrder) -> FdLink {
    let path = bench.pins.path().join(format!("foreign{}", counting.id()));
    pin(counting, &path);
    let mut program = SchedClassifier::from_pin(&path).unwrap();
    bench.node.run(|| {
        let options = TcAttachOptions::TcxOrder(order);
        let id: SchedClassifierLinkId =
            program.attach_with_options(interface, TcAttachType::Ingress, options).unwrap();
        program.take_link(id).unwrap().try_into().unwrap()
    })
}

fn foreign(bench: &Bench<'_>, interface: u32) -> Vec<Foreign> {
    let hooks = bench.hooks();
    let look = || Hooks::foreign([interface], &hooks.observe()?, &BTreeSet::new());
    bench.node.run(look).unwrap()
}

#[test]
fn foreign_tcx_programs_before_and_after_ours_are_told_and_stay() {
    by_each(|bench| {
        if bench.mechanism != Mechanism::Tcx {
            return;
        }
        let ours = Counting::new("ours", NEXT);
        let [earlier, first, last] = ["earlier", "first", "last"].map(|name| Counting::new(name, NEXT));
        let eth0 = number(bench.node, "eth0");
        let _earlier = attach(bench, &earlier, "eth0", LinkOrder::first());
        bench.set(&[(inward(eth0), &ours)]);
        let _first = attach(bench, &first, "eth0", LinkOrder::first());
        let _last = attach(bench, &last, "eth0", LinkOrder::last());
        let told = |counting: &Counting, name: &str, before| Foreign {
            place: inward(eth0),
            title: Title::Tcx { id: counting.id(), name: Some(name.to_owned()) },
            before,
        };
        let expected =
            [told(&first, "first", true), told(&earlier, "earlier", false), told(&last, "last", false)];
        assert_eq!(foreign(bench, eth0), expected);
        bench.set(&[(inward(eth0), &ours)]);
        bench.set(&[]);
        assert_eq!(foreign(bench, eth0).len(), 3, "they stay");
        assert_eq!(
            ProgramInfo::from_pin(bench.pins.path().join(format!("foreign{}", first.id()))).unwrap().id(),
            first.id()
        );
    });
}

#[test]
fn a_foreign_program_that_ends_the_chain_hides_packets_and_is_told() {
    by_each(|bench| {
        if bench.mechanism != Mechanism::Tcx {
            return;
        }
        let [ours, greedy] =
            [("ours", NEXT), ("greedy", PASS)].map(|(name, verdict)| Counting::new(name, verdict));
        bench.set(&[(inward(1), &ours)]);
        let _greedy = attach(bench, &greedy, "lo", LinkOrder::first());
        let before = ours.count();
        knock(bench.node, 10);
        assert!(ours.count() == before && greedy.count() >= 10);
        assert!(
            foreign(bench, 1)
                .iter()
                .any(|foreign| foreign.before && foreign.title.to_string().contains("greedy"))
        );
    });
}

#[test]
fn foreign_filters_and_their_qdisc_stay() {
    by_each(|bench| {
        let [ours, theirs] = ["ours", "theirs"].map(|name| Counting::new(name, NEXT));
        pin(&theirs, &bench.pins.path().join("theirs"));
        let pin = bench.pins.path().join("theirs").display().to_string();
        let node = bench.node;
        node.sh(&format!(
            "tc qdisc add dev lo clsact; tc filter add dev lo ingress prio 1 handle 1 bpf da pinned {pin}
            tc filter add dev lo egress prio 7 protocol ip u32 match u32 0 0 classid 1:1"
        ));
        let filters = || node.sh("tc filter show dev lo ingress; tc filter show dev lo egress");
        let before = filters();
        bench.set(&[(inward(1), &ours), (outward(1), &ours)]);
        knock(node, 10);
        assert!(ours.count() >= 20 && theirs.count() >= 10, "{} {}", ours.count(), theirs.count());
        let told: Vec<_> =
            foreign(bench, 1).into_iter().map(|f| (f.place, f.title.to_string(), f.before)).collect();
        let name = told[0].1.clone();
        assert!(name.starts_with("tc filter bpf of priority 1 ("), "{name}");
        let expected =
            [(inward(1), name, false), (outward(1), "tc filter u32 of priority 7".to_owned(), false)];
        assert_eq!(told, expected);
        bench.set(&[]);
        assert_eq!(filters(), before);
        bench.cleanup();
        assert_eq!(filters(), before);
    });
}

#[test]
fn a_qdisc_of_ours_stays_with_a_foreign_filter_on_it_and_an_empty_one_of_others_stays() {
    by_each(|bench| {
        if bench.mechanism != Mechanism::Clsact {
            return;
        }
        let (node, ours) = (bench.node, Counting::new("ours", NEXT));
        let (eth0, eth1) = (number(node, "eth0"), number(node, "eth1"));
        node.sh("tc qdisc add dev eth1 clsact");
        bench.set(&[(inward(eth0), &ours), (inward(eth1), &ours)]);
        node.sh("tc filter add dev eth0 egress prio 7 protocol ip u32 match u32 0 0 classid 1:1");
        bench.set(&[]);
        let qdiscs = node.sh("tc qdisc show");
        assert!(
            qdiscs.contains("clsact ffff: dev eth0") && qdiscs.contains("clsact ffff: dev eth1"),
            "{qdiscs}"
        );
        node.sh("tc qdisc del dev eth0 clsact");
        bench.set(&[(inward(eth0), &ours)]);
        node.sh("tc qdisc del dev eth0 clsact");
        assert_ne!(
            bench.observe().get(&inward(eth0)).copied(),
            Some(lb_user::dataplane::tc::Hung::Program(ours.id()))
        );
        bench.set(&[(inward(eth0), &ours)]);
    });
}

#[test]
fn where_the_place_of_clsact_is_taken_what_comes_in_is_still_met() {
    by_each(|bench| {
        let (node, ours) = (bench.node, Counting::new("ours", NEXT));
        node.sh(
            "tc qdisc add dev lo ingress
                 tc filter add dev lo ingress prio 1 protocol ip u32 match u32 1 0xffffffff at 0 classid 1:1",
        );
        let (_, failures) = bench.try_set(&[(inward(1), &ours), (outward(1), &ours)]);
        let of_clsact = bench.mechanism == Mechanism::Clsact;
        assert_eq!(failures.len(), usize::from(of_clsact), "{failures:?}");
        if let [(place, error)] = failures.as_slice() {
            let source = std::error::Error::source(error).unwrap().to_string();
            assert!(*place == outward(1) && source.contains("ingress qdisc"), "{error} {source}");
        }
        knock(node, 10);
        assert!(ours.count() >= 10);
        let before: Vec<_> = foreign(bench, 1).into_iter().map(|foreign| foreign.before).collect();
        assert_eq!(before, [of_clsact], "a filter of another kind at priority 1 runs first");
        bench.set(&[]);
        assert!(node.sh("tc qdisc show").contains("ingress ffff:"));
    });
}
