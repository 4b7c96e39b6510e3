use lb_core::doctor::{Finding, Report, Severity, Summary};

use super::{
    Style, printable,
    table::{Cell, Colour, aligned},
};

/// Every finding, each remedy below what it mends, and the count.
pub(super) fn screen(report: &Report, style: Style) -> String {
    let mut rows = vec![["SEVERITY", "CODE", "FINDING"].into_iter().map(Cell::new).collect()];
    for Finding { code, severity, message, remedy } in &report.findings {
        let mut lines = message.lines();
        rows.push(vec![
            Cell::coloured(severity, Some(colour(*severity))),
            Cell::new(code),
            Cell::new(printable(lines.next().unwrap_or_default())),
        ]);
        let below = |text: String| vec![Cell::new(""), Cell::new(""), Cell::new(text)];
        rows.extend(lines.map(|line| below(printable(line).into_owned())));
        rows.extend(remedy.as_deref().map(|remedy| below(format!("-> {}", printable(remedy)))));
    }
    let Summary { ok, warn, fail } = report.summary;
    format!("{}\n{ok} ok, {warn} warn, {fail} fail\n", aligned(&rows, style))
}

fn colour(severity: Severity) -> Colour {
    match severity {
        Severity::Ok => Colour::Green,
        Severity::Warn => Colour::Yellow,
        Severity::Fail => Colour::Red,
    }
}

#[cfg(test)]
mod tests {
    use lb_core::doctor::Code;

    use super::*;

    #[test]
    fn a_remedy_stands_below_its_finding() {
        let findings = vec![
            Finding::ok(Code::Bpffs, "mounted"),
            Finding::fail(Code::Proxy, "a\u{1b}[2J\nsecond line", "mend it"),
        ];
        let text = screen(&Report::new(findings), Style::PLAIN);
        assert_eq!(
            text,
            "SEVERITY  CODE   FINDING\n\
             ok        BPFFS  mounted\n\
             fail      PROXY  a\\u{1b}[2J\n                 second line\n                 -> mend it\n\n\
             1 ok, 0 warn, 1 fail\n"
        );
    }
}
