//! The status page: one self-contained document without a script.

use std::fmt::Write as _;

use jiff::Timestamp;
use lb_core::view::{BackendView, ServiceView, StatusView, TransitionView};

use crate::output::{age, probe, yes_no};

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"refresh\" content=\"5\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>lbctl</title>
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { text-align: left; padding: .2em 1em .2em 0; border-bottom: 1px solid #ddd; }
.up { color: #17692c; } .dead, .bad { color: #b3261e; } .suspect, .notReady { color: #8a5a00; }
</style>
</head>
<body>
<h1>lbctl</h1>
";

/// The whole page.
pub(super) fn html(status: &StatusView, now: Timestamp) -> String {
    let mut out = HEAD.to_owned();
    paragraphs(&mut out, status, now);
    let heading =
        ["Service", "VIP", "Backend", "Intent", "Health", "Serving", "Weight", "Connections", "Probe"];
    let rows = status.services.iter().flat_map(|s| s.backends.iter().map(move |b| row(s, b, now)));
    table(&mut out, heading.into_iter().chain(["Since", "Reason"]), rows);
    if !status.transitions.is_empty() {
        out.push_str("<h2>Last transitions</h2>\n");
        let heading = ["Time", "Service", "Backend", "From", "To", "Reason"];
        table(&mut out, heading.into_iter(), status.transitions.iter().map(transition));
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn paragraphs(out: &mut String, status: &StatusView, now: Timestamp) {
    let (agent, dataplane, hosts) = (&status.agent, &status.dataplane, &status.hosts);
    let up = age(agent.started, now);
    let mut paragraph = |class: &str, text: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(text));
    };
    paragraph("", &format!("Version {}, process {}, up {up}.", agent.version, agent.pid));
    if let Some(error) = &agent.config_error {
        paragraph("bad", &format!("The newest configuration is not in force: {error}"));
    }
    let (class, verdict) = if dataplane.effective { ("", "effective") } else { ("bad", "not effective") };
    paragraph(class, &format!("Dataplane {}, scope {}: {verdict}.", dataplane.dataplanes(), dataplane.scope));
    for error in dataplane.error.iter().chain(&hosts.error).chain(&status.warnings) {
        paragraph("bad", error);
    }
}

fn row(service: &ServiceView, backend: &BackendView, now: Timestamp) -> Vec<String> {
    vec![
        cell(service.name.as_str()),
        cell(&service.vip.to_string()),
        cell(&backend.address.to_string()),
        cell(backend.admin.as_str()),
        classed(backend.health.as_str()),
        cell(yes_no(backend.serving)),
        cell(&backend.weight.to_string()),
        cell(&backend.connections.active.to_string()),
        cell(&probe(backend)),
        cell(&backend.since.map_or_else(|| "-".to_owned(), |since| age(since, now))),
        cell(backend.reason.as_deref().unwrap_or("")),
    ]
}

fn transition(transition: &TransitionView) -> Vec<String> {
    vec![
        cell(&transition.at.to_string()),
        cell(transition.service.as_str()),
        cell(&transition.address.to_string()),
        classed(transition.from.as_str()),
        classed(transition.to.as_str()),
        cell(transition.reason.as_deref().unwrap_or("")),
    ]
}

fn table<'a>(
    out: &mut String,
    heading: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<String>>,
) {
    let heading: String = heading.map(|name| format!("<th>{name}</th>")).collect();
    let _ = writeln!(out, "<table>\n<tr>{heading}</tr>");
    for row in rows {
        let _ = writeln!(out, "<tr>{}</tr>", row.concat());
    }
    out.push_str("</table>\n");
}

fn cell(text: &str) -> String {
    format!("<td>{}</td>", escaped(text))
}

/// A health, in its colour: the class has its name.
fn classed(health: &str) -> String {
    format!("<td class=\"{health}\">{health}</td>")
}

/// Text that stays text in an element and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(
            escaped("<a href='x' b=\"y\">&amp;"),
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;amp;"
        );
    }
}
