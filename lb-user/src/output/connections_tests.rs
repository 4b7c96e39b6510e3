#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use lb_core::{
    model::ConnectionState,
    view::connections::{
        BackendConnectionsView, CapacityView, ConnectionTableView, ConnectionView, CountedView, DroppedView,
    },
};

use crate::output::{Format, Rows, Style, connections};

fn connection(n: u16, state: ConnectionState) -> ConnectionView {
    ConnectionView {
        client: SocketAddr::from(([10, 244, 1, 7], 41_000 + n)),
        vip: "10.103.97.2:6443".parse().unwrap(),
        service: Some("apiserver".parse().unwrap()),
        backend: "192.168.0.2:6443".parse().unwrap(),
        port: 61_000 + n,
        state,
        host: false,
        rescued: false,
        age_seconds: 7860,
        idle_seconds: 4,
    }
}

fn translated() -> ConnectionTableView {
    let rescued = ConnectionView {
        vip: "192.168.0.3:6443".parse().unwrap(),
        service: None,
        host: true,
        rescued: true,
        ..connection(2, ConnectionState::Closing)
    };
    let counts = |rescued: bool| BackendConnectionsView {
        service: (!rescued).then(|| "apiserver".parse().unwrap()),
        vip: if rescued { "192.168.0.3:6443" } else { "10.103.97.2:6443" }.parse().unwrap(),
        backend: "192.168.0.2:6443".parse().unwrap(),
        opening: 0,
        open: u64::from(!rescued),
        closing: u64::from(rescued),
        reset: 0,
    };
    ConnectionTableView {
        connections: vec![connection(1, ConnectionState::Open), rescued],
        backends: vec![counts(false), counts(true)],
        dropped: DroppedView { unknown: 12, no_way: 3, ..DroppedView::default() },
        counted: CountedView { begun: 120, opened: 118, rescued: 1, fast_packets: 4096 },
        total: 2,
        truncated: false,
        capacity: Some(CapacityView { open: 16_384, opening: 8192 }),
    }
}

const SUMMARY: &str = "\
SERVICE    VIP               BACKEND           OPENING  OPEN  CLOSING  RESET
apiserver  10.103.97.2:6443  192.168.0.2:6443  0        1     0        0
-          192.168.0.3:6443  192.168.0.2:6443  0        0     1        0

room for 16384 connections, and for 8192 that are being made
since the table was made 120 were begun, 118 agreed to, 1 rescued
XDP took 4096 packets

DROPPED  PACKETS
unknown  12       of no connection that is known; the client got a RST
noWay    3        no way to the backend
";

fn connection_table(view: &ConnectionTableView, rows: Rows, format: Format) -> String {
    connections(view, rows, format, Style::PLAIN).unwrap()
}

#[test]
fn connections_are_a_table_with_what_they_come_to_below() {
    let rows = "\
CLIENT            VIP               BACKEND           PORT   STATE    AGE    IDLE
10.244.1.7:41001  10.103.97.2:6443  192.168.0.2:6443  61001  open     2h11m  4s
10.244.1.7:41002  192.168.0.3:6443  192.168.0.2:6443  61002  closing  2h11m  4s
";
    assert_eq!(connection_table(&translated(), Rows::All, Format::Table), format!("{rows}\n{SUMMARY}"));
    assert_eq!(connection_table(&translated(), Rows::None, Format::Table), SUMMARY);
    let wide = connection_table(&translated(), Rows::All, Format::Wide);
    assert!(wide.starts_with("CLIENT            VIP               BACKEND           PORT   STATE    AGE    IDLE  SERVICE    HOST  RESCUED\n"), "{wide}");
    assert!(wide.contains("closing  2h11m  4s    -          yes   yes\n"), "{wide}");
}

#[test]
fn connections_that_are_not_listed_are_told_of() {
    let view = ConnectionTableView { total: 12_345, truncated: true, ..translated() };
    let text = connection_table(&view, Rows::All, Format::Table);
    assert!(text.contains("  4s\n2 of 12345 connections are shown\n\nSERVICE"), "{text}");
    assert!(!connection_table(&view, Rows::None, Format::Table).contains("are shown"));
}

#[test]
fn an_empty_table_of_connections_and_none_at_all_are_two_things() {
    let empty = ConnectionTableView { capacity: translated().capacity, ..ConnectionTableView::default() };
    assert_eq!(
        connection_table(&empty, Rows::All, Format::Table),
        "no connections\n\nroom for 16384 connections, and for 8192 that are being made\n\
         since the table was made 0 were begun, 0 agreed to, 0 rescued\nno packet was dropped\n"
    );
    let none = connection_table(&ConnectionTableView::default(), Rows::All, Format::Table);
    assert_eq!(
        none,
        "no connection table: neither the packet dataplane nor a rescued connection is in place\n"
    );
    let json = connection_table(&ConnectionTableView::default(), Rows::All, Format::Json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["capacity"], &json["connections"]), (&serde_json::Value::Null, &serde_json::json!([])));
    let yaml = connection_table(&translated(), Rows::All, Format::Yaml);
    assert_eq!(serde_yaml::from_str::<ConnectionTableView>(&yaml).unwrap(), translated());
}
