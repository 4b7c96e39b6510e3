use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lb_user::{
    dataplane::tc::{Change, Hung, Mechanism, Owner, Place},
    os::netlink::interfaces,
};

use crate::{
    fixture::Netns,
    trial::{Bench, Counting, NEXT, by_each, inward, knock, number, outward},
};

const LO: u32 = 1;

#[test]
fn programs_run_are_replaced_and_go() {
    by_each(|bench| {
        let [old, new, out] = ["old", "new", "out"].map(|name| Counting::new(name, NEXT));
        bench.set(&[(inward(LO), &old), (outward(LO), &out)]);
        knock(bench.node, 10);
        let counted = (old.count(), out.count());
        assert!(counted.0 >= 10 && counted.1 >= 10, "{counted:?}");
        bench.set(&[(inward(LO), &new), (outward(LO), &out)]);
        let before = old.count();
        knock(bench.node, 10);
        assert_eq!(old.count(), before);
        assert!(new.count() >= 10);
        bench.set(&[(outward(LO), &out)]);
        bench.set(&[]);
        let before = (new.count(), out.count());
        knock(bench.node, 10);
        assert_eq!((new.count(), out.count()), before);
        assert!(!bench.node.sh("tc qdisc show").contains("clsact"), "the qdisc was ours");
        assert_eq!(std::fs::read_dir(bench.pins.made()).unwrap().count(), 0);
    });
}

#[test]
fn an_interface_that_is_made_anew_under_its_name_gets_its_programs_again() {
    by_each(|bench| {
        let program = Counting::new("program", NEXT);
        let first = number(bench.node, "eth0");
        bench.set(&[(inward(first), &program), (outward(first), &program)]);
        for index in ["", &format!("index {first}")] {
            let before = number(bench.node, "eth0");
            bench.node.sh(&format!(
                "ip link del eth0; ip link add eth0 {index} type veth peer name eth1; ip link set eth0 up"
            ));
            let now = number(bench.node, "eth0");
            assert_eq!(now == first, !index.is_empty());
            let left = bench.observe();
            assert!(left.values().all(|hung| *hung == Hung::Nothing), "{left:?}");
            assert!(left.keys().all(|place| place.interface == before), "{left:?}");
            bench.set(&[(inward(now), &program), (outward(now), &program)]);
        }
        bench.set(&[]);
    });
}

#[test]
fn an_interface_that_is_not_there_is_no_failure() {
    by_each(|bench| {
        let program = Counting::new("program", NEXT);
        let hooks = bench.hooks();
        let place = inward(9999);
        let made = bench.node.run(|| hooks.apply(Change::Attach(place), Some(&program.program)));
        assert!(!made.unwrap());
        assert_eq!(bench.observe(), BTreeMap::new());
        assert!(bench.node.run(|| hooks.apply(Change::Detach(place), None)).unwrap());
    });
}

#[test]
fn an_interface_that_moves_into_another_namespace_is_seen_to_go() {
    by_each(|bench| {
        let (program, pod) = (Counting::new("program", NEXT), Netns::new("pod"));
        let (place, peer) = (inward(number(bench.node, "eth1")), inward(number(bench.node, "eth0")));
        bench.set(&[(place, &program), (peer, &program)]);
        bench.node.sh(&format!("ip link set eth1 netns {}", pod.name));
        let left = bench.observe();
        assert_eq!(left.get(&peer), Some(&Hung::Program(program.id())));
        assert_ne!(left.get(&place), Some(&Hung::Program(program.id())));
        bench.set(&[(peer, &program)]);
        pod.sh("ip link set eth1 up; ip link set lo up");
        bench.set(&[]);
    });
}

#[test]
fn what_is_pinned_for_another_namespace_is_not_taken_for_this_ones() {
    by_each(|bench| {
        let program = Counting::new("program", NEXT);
        bench.set(&[(inward(LO), &program)]);
        let other = Netns::new("other");
        let moved = Bench { node: &other, ..*bench };
        assert_ne!(moved.observe().get(&inward(LO)), Some(&Hung::Program(program.id())));
        moved.set(&[(inward(LO), &program)]);
        knock(&other, 10);
        assert!(program.count() >= 10);
        moved.cleanup();
        let before = program.count();
        knock(&other, 10);
        assert_eq!(program.count(), before);
    });
}

#[test]
fn two_owners_programs_run_side_by_side_and_each_goes_alone() {
    by_each(|bench| {
        let [packet, rescue] = ["packet", "rescue"].map(|name| Counting::new(name, NEXT));
        let other = Bench { owner: Owner::Rescue, ..*bench };
        bench.set(&[(inward(LO), &packet)]);
        other.set(&[(inward(LO), &rescue)]);
        knock(bench.node, 10);
        assert!(packet.count() >= 10 && rescue.count() >= 10);
        assert_eq!(bench.cleanup(), [inward(LO)]);
        let before = (packet.count(), rescue.count());
        knock(bench.node, 10);
        assert!(packet.count() == before.0 && rescue.count() >= before.1 + 10);
        assert_eq!(other.cleanup(), [inward(LO)]);
        assert!(!bench.node.sh("tc qdisc show").contains("clsact"));
    });
}

#[test]
fn cleanup_leaves_nothing_and_can_be_run_twice() {
    by_each(|bench| {
        let program = Counting::new("program", NEXT);
        let (eth0, eth1) = (number(bench.node, "eth0"), number(bench.node, "eth1"));
        bench.set(&[(inward(eth0), &program), (outward(eth0), &program), (inward(eth1), &program)]);
        assert_eq!(bench.cleanup().len(), 3);
        assert_eq!(bench.cleanup(), []);
        assert!(!bench.node.sh("tc qdisc show").contains("clsact"));
        assert!(!bench.pins.links(bench.owner).exists() && !bench.pins.made().exists());
        knock(bench.node, 1);
    });
}

/// What runs behind ours sees the same packets.
fn behind(bench: &Bench<'_>) -> Counting {
    let witness = Counting::new("witness", NEXT);
    match bench.mechanism {
        // Ours are put first.
        Mechanism::Tcx => Bench { owner: Owner::Rescue, ..*bench }.set(&[(inward(LO), &witness)]),
        Mechanism::Clsact => {
            let pin = bench.pins.path().join("witness");
            crate::foreign::pin(&witness, &pin);
            bench.node.sh(&format!(
                "tc qdisc add dev lo clsact; tc filter add dev lo ingress prio 2 bpf da pinned {}",
                pin.display()
            ));
        }
    }
    witness
}

/// How many packets ours and the witness counted while `act` is done again and again, under a flood of packets.
fn under_load(bench: &Bench<'_>, ours: &[Counting; 2], act: impl Fn(usize)) -> (u32, u32) {
    let witness = behind(bench);
    bench.try_set(&[(inward(LO), &ours[0])]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    knock(bench.node, 100);
                }
            });
        }
        for round in 0..300 {
            act(round);
        }
        stop.store(true, Ordering::Relaxed);
    });
    thread::sleep(Duration::from_millis(100));
    (ours[0].count() + ours[1].count(), witness.count())
}

#[test]
fn an_upgrade_under_load_misses_no_packet() {
    by_each(|bench| {
        let ours = ["old", "new"].map(|name| Counting::new(name, NEXT));
        let (counted, passed) = under_load(bench, &ours, |round| {
            assert_eq!(bench.try_set(&[(inward(LO), &ours[(round + 1) % 2])]).0, 1)
        });
        println!(
            "{}: 300 upgrades, {counted} packets, {} by the first program",
            bench.mechanism,
            ours[0].count()
        );
        assert_eq!(counted, passed);
        assert!(
            ours.iter().all(|ours| ours.count() > 300),
            "both ran: {}, {}",
            ours[0].count(),
            ours[1].count()
        );
    });
}

/// That the test above would notice a gap.
#[test]
fn detaching_and_attaching_under_load_does_miss_packets() {
    by_each(|bench| {
        let ours = ["old", "new"].map(|name| Counting::new(name, NEXT));
        let (counted, passed) = under_load(bench, &ours, |_| {
            bench.try_set(&[]);
            bench.try_set(&[(inward(LO), &ours[0])]);
        });
        println!("{}: {} of {passed} packets missed", bench.mechanism, passed - counted);
        assert!(counted < passed);
    });
}

#[test]
fn two_hundred_interfaces_are_taken_and_left_within_seconds() {
    by_each(|bench| {
        let batch: String =
            (0..100).map(|n| format!("link add pod{n} type veth peer name peer{n}\n")).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        bench.node.sh(&format!("ip -batch {}", file.path().display()));
        let program = Counting::new("program", NEXT);
        let found = bench.node.run(interfaces::list).unwrap().found;
        let places = found.iter().flat_map(|interface| [inward(interface.index), outward(interface.index)]);
        let wanted: Vec<_> = places.map(|place| (place, &program)).collect();
        let timed = |wanted: &[(Place, &Counting)], changes: usize| {
            let began = Instant::now();
            let (made, failures) = bench.try_set(wanted);
            assert!(made == changes && failures.is_empty(), "{made} changes, {failures:?}");
            began.elapsed()
        };
        let attached = timed(&wanted, wanted.len());
        let quiet = timed(&wanted, 0);
        let detached = timed(&[], wanted.len());
        let (mechanism, hooks) = (bench.mechanism, wanted.len());
        println!(
            "{mechanism}: {hooks} hooks attached in {attached:?}, looked at in {quiet:?}, detached in {detached:?}"
        );
        assert!(attached + quiet + detached < Duration::from_secs(60));
    });
}

#[test]
fn mending_ends_in_time_and_goes_on_in_the_next_round() {
    by_each(|bench| {
        let program = Counting::new("program", NEXT);
        let (eth0, hooks) = (number(bench.node, "eth0"), bench.hooks());
        let places = [inward(LO), outward(LO), inward(eth0), outward(eth0)];
        let wanted = places.into_iter().map(|place| (place, &program.program)).collect();
        for left in (0..4).rev() {
            let mended = bench.node.run(|| hooks.reconcile(&wanted, Duration::ZERO)).unwrap();
            assert_eq!((mended.made, mended.left), (1, left));
        }
        assert_eq!(bench.node.run(|| hooks.reconcile(&wanted, Duration::ZERO)).unwrap().made, 0);
    });
}
