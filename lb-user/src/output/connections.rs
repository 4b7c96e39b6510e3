use std::fmt::Write as _;

use lb_core::{
    model::ConnectionState,
    view::connections::{BackendConnectionsView, CapacityView, ConnectionTableView, ConnectionView},
};

use super::{
    Rows, Style,
    backends::Columns,
    human,
    table::{Cell, Colour, aligned},
    yes_no,
};

const FEW: [&str; 7] = ["CLIENT", "VIP", "BACKEND", "PORT", "STATE", "AGE", "IDLE"];
const MORE: [&str; 3] = ["SERVICE", "HOST", "RESCUED"];
const SUMMARY: [&str; 7] = ["SERVICE", "VIP", "BACKEND", "OPENING", "OPEN", "CLOSING", "RESET"];

/// What is said where there is no table.
const NO_TABLE: &str =
    "no connection table: neither the packet dataplane nor a rescued connection is in place\n";

/// A row for each connection, where they are wanted, and below them what they come to.
pub(super) fn screen(view: &ConnectionTableView, rows: Rows, columns: Columns, style: Style) -> String {
    let Some(capacity) = view.capacity else { return NO_TABLE.to_owned() };
    let mut out = String::new();
    if rows == Rows::All && view.total > 0 {
        out.push_str(&table(&view.connections, columns, style));
        if view.truncated {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{} of {} connections are shown", view.connections.len(), view.total);
        }
        out.push('\n');
    }
    out.push_str(&summary(view, capacity, style));
    out
}

fn table(connections: &[ConnectionView], columns: Columns, style: Style) -> String {
    let mut heading: Vec<_> = FEW.into_iter().map(Cell::new).collect();
    match columns {
        Columns::Few => {}
        Columns::All => heading.extend(MORE.into_iter().map(Cell::new)),
    }
    let rows = connections.iter().map(|connection| row(connection, columns));
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    aligned(&rows, style)
}

fn row(connection: &ConnectionView, columns: Columns) -> Vec<Cell> {
    let ConnectionView { client, vip, service, backend, port, state, host, rescued, .. } = connection;
    let mut cells = vec![
        Cell::new(client),
        Cell::new(vip),
        Cell::new(backend),
        Cell::new(port),
        Cell::coloured(state, colour(*state)),
        Cell::new(human::seconds(connection.age_seconds)),
        Cell::new(human::seconds(connection.idle_seconds)),
    ];
    match columns {
        Columns::Few => {}
        Columns::All => cells.extend([
            Cell::new(service.as_ref().map_or("-", |name| name.as_str())),
            Cell::new(yes_no(*host)),
            Cell::new(yes_no(*rescued)),
        ]),
    }
    cells
}

fn colour(state: ConnectionState) -> Option<Colour> {
    match state {
        ConnectionState::Open => Some(Colour::Green),
        ConnectionState::Opening | ConnectionState::Closing => Some(Colour::Yellow),
        ConnectionState::Reset => Some(Colour::Red),
    }
}

/// Counts for each backend, what there is room for, and what was not let through.
fn summary(view: &ConnectionTableView, capacity: CapacityView, style: Style) -> String {
    let mut out = String::new();
    if view.backends.is_empty() {
        out.push_str("no connections\n");
    } else {
        let heading = SUMMARY.into_iter().map(Cell::new).collect();
        let rows: Vec<_> = std::iter::once(heading).chain(view.backends.iter().map(counts)).collect();
        out.push_str(&aligned(&rows, style));
    }
    let (counted, CapacityView { open, opening }) = (view.counted, capacity);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\nroom for {open} connections, and for {opening} that are being made");
    let _ = writeln!(
        out,
        "since the table was made {} were begun, {} agreed to, {} rescued",
        counted.begun, counted.opened, counted.rescued
    );
    if counted.fast_packets > 0 {
        let _ = writeln!(out, "XDP took {} packets", counted.fast_packets);
    }
    let dropped = view.dropped.by_reason().into_iter().filter(|(_, _, count)| *count > 0);
    let dropped: Vec<_> = dropped
        .map(|(reason, meaning, count)| vec![Cell::new(reason), Cell::new(count), Cell::new(meaning)])
        .collect();
    if dropped.is_empty() {
        out.push_str("no packet was dropped\n");
    } else {
        let heading = ["DROPPED", "PACKETS"].into_iter().map(Cell::new).collect();
        let rows: Vec<_> = std::iter::once(heading).chain(dropped).collect();
        out.push('\n');
        out.push_str(&aligned(&rows, style));
    }
    out
}

fn counts(backend: &BackendConnectionsView) -> Vec<Cell> {
    let name = Cell::new(backend.service.as_ref().map_or("-", |name| name.as_str()));
    let counts = backend.by_state().into_iter().map(|(_, count)| Cell::new(count));
    [name, Cell::new(backend.vip), Cell::new(backend.backend)].into_iter().chain(counts).collect()
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
