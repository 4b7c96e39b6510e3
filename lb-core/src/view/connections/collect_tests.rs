#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    model::{Admin, DataplaneKind, Health, Policy, Source},
    view::{BackendView, ConnectionsView, ProbeView},
};

const TABLE: Table = Table {
    dropped: DroppedView {
        no_backend: 1,
        unknown: 2,
        fragment: 3,
        malformed: 4,
        full: 5,
        no_way: 6,
        scope: 7,
        given_up: 8,
        displaced: 9,
    },
    counted: CountedView { begun: 10, opened: 8, rescued: 1, fast_packets: 7 },
    capacity: CapacityView { open: 16_384, opening: 8192 },
};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn backend(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, n], 6443))
}

fn service(name: &str, vip: &str, members: &[u8]) -> ServiceView {
    let member = |n: &u8| BackendView {
        address: backend(*n),
        source: Source::Config,
        admin: Admin::Active,
        health: Health::Up,
        serving: true,
        reason: None,
        since: None,
        weight: 1,
        local: false,
        connections: ConnectionsView::default(),
        probe: ProbeView::default(),
    };
    ServiceView {
        name: name.parse().unwrap(),
        vip: addr(vip),
        hostname: None,
        dataplane: DataplaneKind::Packet,
        dataplanes: vec![DataplaneKind::Packet],
        policy: Policy::Random,
        backends: members.iter().map(member).collect(),
    }
}

fn services() -> Vec<ServiceView> {
    vec![service("apiserver", "10.103.97.2:6443", &[1, 2]), service("web", "10.103.97.3:80", &[3])]
}

fn connection(client: u16, vip: &str, to: u8, state: ConnectionState) -> Connection {
    Connection {
        client: SocketAddr::from(([10, 0, 0, 7], client)),
        vip: addr(vip),
        backend: backend(to),
        port: 61_000 + client,
        state,
        host: false,
        rescued: false,
        age: Duration::from_millis(61_999),
        idle: Duration::from_millis(999),
    }
}

fn table() -> Vec<Connection> {
    let rescued = Connection {
        rescued: true,
        host: true,
        ..connection(9, "192.168.0.1:6443", 2, ConnectionState::Open)
    };
    vec![
        connection(3, "10.103.97.3:80", 3, ConnectionState::Reset),
        connection(2, "10.103.97.2:6443", 2, ConnectionState::Open),
        connection(1, "10.103.97.2:6443", 1, ConnectionState::Opening),
        connection(4, "10.103.97.2:6443", 2, ConnectionState::Closing),
        connection(5, "10.103.97.9:1", 2, ConnectionState::Open),
        rescued,
    ]
}

fn collected(filter: &ConnectionFilter) -> ConnectionTableView {
    let services = services();
    let mut collector = Collector::new(filter, &services);
    table().into_iter().for_each(|connection| collector.take(connection));
    collector.finish(Some(TABLE))
}

fn clients(view: &ConnectionTableView) -> Vec<u16> {
    view.connections.iter().map(|connection| connection.client.port()).collect()
}

#[test]
fn all_are_listed_by_vip_backend_and_client_and_counted_by_backend() {
    let view = collected(&ConnectionFilter::default());
    assert_eq!(clients(&view), [1, 2, 4, 3, 5, 9]);
    assert_eq!((view.total, view.truncated), (6, false));
    let counts: Vec<_> = view
        .backends
        .iter()
        .map(|b| {
            let name = b.service.as_ref().map(ToString::to_string).unwrap_or_default();
            (name, b.vip.to_string(), b.backend, b.by_state().map(|(_, count)| count))
        })
        .collect();
    let apiserver = || "apiserver".to_owned();
    assert_eq!(
        counts,
        [
            (apiserver(), "10.103.97.2:6443".to_owned(), backend(1), [1, 0, 0, 0]),
            (apiserver(), "10.103.97.2:6443".to_owned(), backend(2), [0, 1, 1, 0]),
            ("web".to_owned(), "10.103.97.3:80".to_owned(), backend(3), [0, 0, 0, 1]),
            (String::new(), "10.103.97.9:1".to_owned(), backend(2), [0, 1, 0, 0]),
            (apiserver(), "192.168.0.1:6443".to_owned(), backend(2), [0, 1, 0, 0]),
        ]
    );
}

#[test]
fn a_filter_concerns_rows_and_counts_and_a_limit_the_rows_only() {
    let apiserver = ConnectionFilter { service: Some("apiserver".parse().unwrap()), ..Default::default() };
    let view = collected(&apiserver);
    assert_eq!(clients(&view), [1, 2, 4, 9], "one that was rescued is of the service of its first backend");
    assert_eq!(view.backends.len(), 3);
    let both = ConnectionFilter { backend: Some(backend(1)), ..apiserver.clone() };
    assert_eq!(clients(&collected(&both)), [1]);
    let two = ConnectionFilter { limit: 2, ..apiserver };
    let view = collected(&two);
    assert_eq!((view.connections.len(), view.total, view.truncated), (2, 4, true));
    assert_eq!(view.backends.len(), 3, "all are counted");
    let none = collected(&ConnectionFilter::COUNTS);
    assert_eq!((none.connections.len(), none.total), (0, 6));
}

#[test]
fn no_answer_has_more_rows_than_the_most() {
    let filter = ConnectionFilter { limit: usize::MAX, ..Default::default() };
    let mut collector = Collector::new(&filter, &[]);
    for _ in 0..MAX_ROWS + 1 {
        collector.take(connection(1, "10.103.97.2:6443", 1, ConnectionState::Open));
    }
    let view = collector.finish(Some(TABLE));
    assert_eq!((view.connections.len(), view.truncated), (MAX_ROWS, true));
}

#[test]
fn the_json_has_these_keys() {
    let one = ConnectionFilter { backend: Some(backend(1)), ..Default::default() };
    let json = serde_json::to_value(collected(&one)).unwrap();
    let wanted = serde_json::json!({
        "connections": [{
            "client": "10.0.0.7:1", "vip": "10.103.97.2:6443", "service": "apiserver", "backend": "192.168.0.1:6443",
            "port": 61_001, "state": "opening", "host": false, "rescued": false, "ageSeconds": 61, "idleSeconds": 0,
        }],
        "backends": [{
            "service": "apiserver", "vip": "10.103.97.2:6443", "backend": "192.168.0.1:6443",
            "opening": 1, "open": 0, "closing": 0, "reset": 0,
        }],
        "dropped": {
            "noBackend": 1, "unknown": 2, "fragment": 3, "malformed": 4, "full": 5, "noWay": 6, "scope": 7,
            "givenUp": 8, "displaced": 9,
        },
        "counted": {"begun": 10, "opened": 8, "rescued": 1, "fastPackets": 7},
        "total": 1, "truncated": false, "capacity": {"open": 16_384, "opening": 8192},
    });
    assert_eq!(json, wanted);
    let reasons = TABLE.dropped.by_reason();
    assert!(reasons.iter().all(|(name, _, count)| json["dropped"][name] == *count));
    assert_eq!(reasons.len(), json["dropped"].as_object().unwrap().len());
}

#[test]
fn where_there_is_no_table_the_answer_says_so() {
    let view = Collector::new(&ConnectionFilter::default(), &[]).finish(None);
    assert_eq!(view, ConnectionTableView::default());
    assert_eq!(serde_json::to_value(&view).unwrap()["capacity"], serde_json::Value::Null);
}
