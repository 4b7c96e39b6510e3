//! The report's pictures.

use super::fault::LONG;
use super::{Failover, Fault, Figures, Span};
use crate::contender::Contender;
use crate::report::{Plot, PlotRow};
use crate::statistics::Spread;

/// File, fault, title, and what is shown of a round.
type Picture = (&'static str, Fault, &'static str, fn(&Figures) -> Span);

/// Where balancers differ by more than the eye needs.
const PICTURES: [Picture; 4] = [
    (
        "power-loss-requests.svg",
        Fault::PowerLoss,
        "Power loss: s until the last failed or slow request is over",
        |figures| figures.last_trouble_ended,
    ),
    (
        "power-loss-watches.svg",
        Fault::PowerLoss,
        "Power loss: s until the last open watch knows",
        |figures| figures.watches.last,
    ),
    (
        "hang-requests.svg",
        Fault::Hang,
        "SIGSTOP: s until the last failed or slow request is over",
        |figures| figures.last_trouble_ended,
    ),
    ("hang-watches.svg", Fault::Hang, "SIGSTOP: s until the last open watch knows", |figures| {
        figures.watches.last
    }),
];

pub(super) fn draw(failover: &Failover) -> Vec<Plot> {
    let plots = PICTURES.into_iter().map(|(file, fault, title, of)| Plot {
        file: file.to_owned(),
        title: format!("{title} ({} s: not at all)", LONG.as_secs()),
        rows: Contender::ALL
            .into_iter()
            .filter_map(|contender| row(failover, contender, fault, of))
            .collect(),
    });
    plots.filter(|plot| !plot.rows.is_empty()).collect()
}

/// Files of a fault's pictures.
pub(super) fn files(fault: Fault) -> impl Iterator<Item = &'static str> {
    PICTURES.into_iter().filter(move |picture| picture.1 == fault).map(|picture| picture.0)
}

fn row(failover: &Failover, contender: Contender, fault: Fault, of: fn(&Figures) -> Span) -> Option<PlotRow> {
    let figures = failover.figures(contender, fault);
    let seconds: Vec<f64> = figures.into_iter().map(|figures| of(figures).watched().max(0.0) / 1e3).collect();
    let spread = Spread::of(&seconds)?;
    Some(PlotRow { label: contender.name().to_owned(), spread, ours: contender.is_lbctl() })
}
