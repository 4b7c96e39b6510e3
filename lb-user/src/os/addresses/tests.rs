use std::{future::Future, net::Ipv4Addr, thread};

use netlink_packet_route::address::AddressHeader;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::{sync::mpsc, time::Instant};

use super::*;

/// Far more than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The loopback interface is always the first.
const LOOPBACK: u32 = 1;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, test).await.unwrap() })
}

/// Runs a test in a network namespace of its own, on a thread that ends with it. Says so and does not without root.
fn in_new_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {name}: it makes a network namespace, which needs root");
        return;
    }
    let isolated = move || {
        #[expect(unsafe_code, reason = "unshare can also take away file descriptors")]
        // SAFETY: only the network namespace is unshared, not the table of file descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        run(async { test().await });
    };
    thread::spawn(isolated).join().unwrap();
}

/// Works on addresses of the loopback interface.
fn configure() -> rtnetlink::Handle {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    handle
}

async fn add(handle: &rtnetlink::Handle, address: &str) {
    let prefix = if ip(address).is_ipv4() { 32 } else { 128 };
    handle.address().add(LOOPBACK, ip(address), prefix).execute().await.unwrap();
}

async fn delete(handle: &rtnetlink::Handle, address: Ipv4Addr) {
    let mut message = AddressMessage::default();
    let family = netlink_packet_route::AddressFamily::Inet;
    message.header = AddressHeader { family, prefix_len: 32, index: LOOPBACK, ..Default::default() };
    message.attributes.push(AddressAttribute::Local(address.into()));
    handle.address().del(message).execute().await.unwrap();
}

#[test]
fn the_nodes_own_address_is_the_local_one_and_not_the_peers() {
    let (own, peer) = (ip("10.0.0.1"), ip("10.0.0.2"));
    let cases = [
        (vec![AddressAttribute::Address(own), AddressAttribute::Local(own)], Some(own)),
        (vec![AddressAttribute::Address(peer), AddressAttribute::Local(own)], Some(own)),
        (vec![AddressAttribute::Address(ip("fd00::1"))], Some(ip("fd00::1"))),
        (vec![AddressAttribute::Label("lo".into())], None),
    ];
    for (attributes, expected) in cases {
        let mut message = AddressMessage::default();
        message.attributes = attributes;
        assert_eq!(owned(&message), expected);
        message.header.flags = AddressHeaderFlags::Tentative;
        assert_eq!(owned(&message), expected);
        message.header.flags |= AddressHeaderFlags::Dadfailed;
        assert_eq!(owned(&message), None, "another host owns it");
    }
}

#[test]
fn a_broken_answer_is_an_error_and_no_panic() {
    let mut message = AddressMessage::default();
    message.attributes.push(AddressAttribute::Local(ip("10.0.0.1")));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewAddress(message));
    message.header.flags = NLM_F_DUMP_INTR;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    for end in 1..bytes.len() {
        assert!(read(&bytes[..end], &mut BTreeSet::new(), &mut false).is_err(), "{end} bytes");
    }
    let (mut addresses, mut interrupted) = (BTreeSet::new(), false);
    assert!(!read(&bytes, &mut addresses, &mut interrupted).unwrap());
    assert_eq!((addresses, interrupted), (set(&["10.0.0.1"]), true));
}

#[test]
fn all_addresses_of_the_namespace_are_listed() {
    in_new_namespace("all_addresses_of_the_namespace_are_listed", || async {
        assert_eq!(own().await.unwrap(), BTreeSet::new());
        let handle = configure();
        for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            add(&handle, address).await;
        }
        assert_eq!(own().await.unwrap(), set(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    });
}

#[test]
fn more_addresses_than_fit_into_one_datagram_are_listed() {
    in_new_namespace("more_addresses_than_fit_into_one_datagram_are_listed", || async {
        let handle = configure();
        let many: BTreeSet<IpAddr> = (1..=1000).map(|n| Ipv4Addr::from(0x0a00_0000 + n).into()).collect();
        for address in &many {
            add(&handle, &address.to_string()).await;
        }
        assert_eq!(own().await.unwrap(), many);
    });
}

#[test]
fn the_set_is_sent_at_the_start_and_after_each_change() {
    in_new_namespace("the_set_is_sent_at_the_start_and_after_each_change", || async {
        let handle = configure();
        let (tx, mut rx) = mpsc::channel(1);
        let watcher = tokio::spawn(watch(tx));
        assert_eq!(rx.recv().await.unwrap(), BTreeSet::new());
        add(&handle, "192.0.2.1").await;
        assert_eq!(rx.recv().await.unwrap(), set(&["192.0.2.1"]));
        add(&handle, "2001:db8::1").await;
        assert_eq!(rx.recv().await.unwrap(), set(&["192.0.2.1", "2001:db8::1"]));
        delete(&handle, Ipv4Addr::new(192, 0, 2, 1)).await;
        assert_eq!(rx.recv().await.unwrap(), set(&["2001:db8::1"]));
        drop(rx);
        assert!(matches!(watcher.await.unwrap(), Err(AddressError::Closed)));
    });
}

/// More notifications than the socket's buffer takes, while nobody reads: the end must be seen all the same.
#[test]
fn a_burst_of_changes_is_told_by_its_end_even_to_a_slow_receiver() {
    in_new_namespace("a_burst_of_changes_is_told_by_its_end_even_to_a_slow_receiver", || async {
        let handle = configure();
        let (tx, mut rx) = mpsc::channel(1);
        tokio::spawn(watch(tx));
        let many: BTreeSet<IpAddr> = (1..=2000).map(|n| Ipv4Addr::from(0x0a00_0000 + n).into()).collect();
        let began = Instant::now();
        for address in &many {
            add(&handle, &address.to_string()).await;
        }
        let rounds = began.elapsed().div_duration_f32(GATHER) as usize + 3;
        let mut told = 0;
        loop {
            told += 1;
            assert!(told <= rounds, "told {told} times");
            if rx.recv().await.unwrap() == many {
                break;
            }
        }
    });
}
