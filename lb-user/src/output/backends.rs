use jiff::Timestamp;
use lb_core::{
    model::Health,
    view::{BackendView, ServiceView},
};

use super::{
    Style, age, latency, printable,
    table::{Cell, Colour, aligned},
};

/// How much of a backend is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// What fits a terminal.
    Few,
    /// Everything.
    All,
}

/// PROBE is six characters wide, as `12.3ms` is, so that columns do not jump from one look to the next.
const FEW: [&str; 10] =
    ["SERVICE", "VIP", "BACKEND", "ADMIN", "HEALTH", "SERVING", "WEIGHT", "CONNS", "PROBE ", "SINCE"];
const MORE: [&str; 6] = ["SOURCE", "LOCAL", "TOTAL", "REFUSED", "POLICY", "FAILURES"];

/// One row for each backend; the reason, where there is one, stands at its end under no heading.
pub(super) fn table(services: &[ServiceView], columns: Columns, style: Style, now: Timestamp) -> String {
    let mut heading: Vec<_> = FEW.into_iter().map(Cell::new).collect();
    match columns {
        Columns::Few => {}
        Columns::All => heading.extend(MORE.into_iter().map(Cell::new)),
    }
    let mut rows = vec![heading];
    for service in services {
        rows.extend(service.backends.iter().map(|backend| row(service, backend, columns, now)));
        if service.backends.is_empty() {
            rows.push(vec![Cell::new(&service.name), Cell::new(service.vip), Cell::new("none")]);
        }
    }
    aligned(&rows, style)
}

fn row(service: &ServiceView, backend: &BackendView, columns: Columns, now: Timestamp) -> Vec<Cell> {
    let mut cells = vec![
        Cell::new(&service.name),
        Cell::new(service.vip),
        Cell::new(backend.address),
        Cell::new(backend.admin),
        Cell::coloured(backend.health, colour(backend.health)),
        Cell::new(yes_no(backend.serving)),
        Cell::new(backend.weight),
        Cell::new(backend.connections.active),
        Cell::new(probe(backend)),
        Cell::new(backend.since.map_or_else(|| "-".to_owned(), |since| age(since, now))),
    ];
    match columns {
        Columns::Few => {}
        Columns::All => cells.extend([
            Cell::new(backend.source),
            Cell::new(yes_no(backend.local)),
            Cell::new(backend.connections.total),
            Cell::new(backend.connections.refused),
            Cell::new(service.policy),
            Cell::new(backend.probe.failures),
        ]),
    }
    cells.extend(backend.reason.as_deref().map(|reason| Cell::new(printable(reason))));
    cells
}

/// The latency of the last probe, where that was answered: the one before a failure says nothing about now.
pub(crate) fn probe(backend: &BackendView) -> String {
    match backend.probe.latency_ms {
        Some(ms) if backend.probe.failures == 0 => latency(ms),
        Some(_) | None => "-".to_owned(),
    }
}

pub(crate) fn yes_no(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

pub(super) fn colour(health: Health) -> Option<Colour> {
    match health {
        Health::Unknown => None,
        Health::Up => Some(Colour::Green),
        Health::Suspect | Health::NotReady => Some(Colour::Yellow),
        Health::Dead => Some(Colour::Red),
    }
}
