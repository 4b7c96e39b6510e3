use std::fmt::Write as _;

use jiff::Timestamp;
use lb_core::{
    model::Health,
    view::{AgentView, DataplaneView, HostsView, StatusView, TransitionView},
};

use super::{
    Style, age,
    backends::{self, Columns, colour},
    printable,
    table::{Cell, Colour, aligned},
};

/// Transitions on one screen: with three backends the rest of it takes about 14 of a terminal's 24 lines.
const TRANSITIONS_ON_SCREEN: usize = 10;

/// Labels of the first block are padded to the longest of them, `dataplane`, and two spaces.
const LABEL_WIDTH: usize = 11;

/// Everything about an agent on one screen.
pub(super) fn screen(view: &StatusView, columns: Columns, style: Style, now: Timestamp) -> String {
    let mut out = Block { text: String::new(), style };
    agent(&mut out, &view.agent, now);
    dataplane(&mut out, &view.dataplane);
    hosts(&mut out, &view.hosts);
    out.section(&backends::table(&view.services, columns, style, now));
    let shown = match columns {
        Columns::Few => TRANSITIONS_ON_SCREEN.min(view.transitions.len()),
        Columns::All => view.transitions.len(),
    };
    if let Some(newest) = view.transitions.get(..shown).filter(|newest| !newest.is_empty()) {
        out.section(&transitions(newest, style, now));
    }
    if !view.warnings.is_empty() {
        out.text.push('\n');
    }
    for warning in &view.warnings {
        out.line("warning", Some(Colour::Yellow), warning);
    }
    out.text
}

fn agent(out: &mut Block, agent: &AgentView, now: Timestamp) {
    let AgentView { version, pid, started, config, config_loaded, config_error } = agent;
    out.line("agent", None, &format!("lbctl {version}, pid {pid}, up {}", age(*started, now)));
    let config = config.as_ref().map_or("flags only".into(), |path| path.to_string_lossy());
    out.line("config", None, &format!("{config}, loaded {} ago", age(*config_loaded, now)));
    if let Some(error) = config_error {
        out.line("", Some(Colour::Red), &format!("the one loaded stays in force: {error}"));
    }
}

fn dataplane(out: &mut Block, dataplane: &DataplaneView) {
    let DataplaneView { kind: _, kinds: _, why, scope, effective, error, facts } = dataplane;
    let (verdict, tint) = if *effective { ("effective", None) } else { ("NOT effective", Some(Colour::Red)) };
    out.line("dataplane", tint, &format!("{}, scope {scope}, {verdict}", dataplane.dataplanes()));
    if let Some(error) = error {
        out.line("", Some(Colour::Red), error);
    }
    out.line("", None, &format!("chosen: {why}"));
    for (label, value) in facts {
        out.line("", None, &format!("{label}: {value}"));
    }
}

fn hosts(out: &mut Block, hosts: &HostsView) {
    let HostsView { path, manage, in_place, error } = hosts;
    let (verdict, tint) = match (manage, in_place) {
        (false, _) => ("not managed", None),
        (true, true) => ("in place", None),
        (true, false) => ("NOT in place", Some(Colour::Red)),
    };
    out.line("hosts", tint, &format!("{}, {verdict}", path.display()));
    if let Some(error) = error {
        out.line("", Some(Colour::Red), error);
    }
}

fn transitions(newest: &[TransitionView], style: Style, now: Timestamp) -> String {
    let mut rows = vec![["AGE", "TIME", "SERVICE", "BACKEND", "CHANGE"].into_iter().map(Cell::new).collect()];
    for transition in newest {
        let TransitionView { at, service, address, from, to, reason } = transition;
        let mut cells = vec![
            Cell::new(age(*at, now)),
            Cell::new(at.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Cell::new(service),
            Cell::new(address),
            Cell::coloured(change(*from, *to), colour(*to)),
        ];
        cells.extend(reason.as_deref().map(|reason| Cell::new(printable(reason))));
        rows.push(cells);
    }
    aligned(&rows, style)
}

/// A backend may begin or cease to serve while its health stays what it is.
fn change(from: Health, to: Health) -> String {
    if from == to { to.to_string() } else { format!("{from} -> {to}") }
}

struct Block {
    text: String,
    style: Style,
}

impl Block {
    /// A label and a value; the lines of a value stand below each other.
    fn line(&mut self, label: &str, colour: Option<Colour>, value: &str) {
        for (n, line) in value.lines().enumerate() {
            let label = if n == 0 { label } else { "" };
            let value = self.style.paint(colour, &printable(line));
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{label:LABEL_WIDTH$}{value}");
        }
    }

    fn section(&mut self, text: &str) {
        self.text.push('\n');
        self.text.push_str(text);
    }
}
