use super::{FieldPath, Problem, Report, scalar};
use crate::{
    config::{
        Interfaces, PacketConfig,
        raw::{OneOrMany, RawPacket},
    },
    model::InterfacePattern,
};

const DEFAULT_CONNECTIONS: u32 = 16_384;
const CONNECTIONS: (u32, u32) = (1024, 1_048_576);

/// The most patterns: every interface that comes is compared with all of them.
const MAX_PATTERNS: usize = 64;

/// Every interface.
const AUTO: &str = "auto";
/// No interface.
const OFF: &str = "off";

/// Reads `packet:`.
pub(super) fn read(raw: &RawPacket, path: &FieldPath, report: &mut Report<'_>) -> Option<PacketConfig> {
    let interfaces = interfaces(&raw.interfaces, &path.key("interfaces"), report);
    let xdp = xdp(&raw.xdp, &path.key("xdp"), report);
    let connections =
        scalar::number(raw.connections, CONNECTIONS, DEFAULT_CONNECTIONS, &path.key("connections"), report);
    let shortcut = scalar::on_off(&raw.shortcut, true, &path.key("shortcut"), report);
    Some(PacketConfig {
        interfaces: interfaces?,
        xdp: xdp?,
        connections: connections?,
        masquerade: raw.masquerade.unwrap_or(true),
        shortcut: shortcut?,
    })
}

fn interfaces(raw: &Option<OneOrMany>, path: &FieldPath, report: &mut Report<'_>) -> Option<Interfaces> {
    match raw {
        None => Some(Interfaces::All),
        Some(OneOrMany::One(text)) if text == AUTO => Some(Interfaces::All),
        Some(written) => named(written, AUTO, path, report).map(Interfaces::Named),
    }
}

fn xdp(raw: &Option<OneOrMany>, path: &FieldPath, report: &mut Report<'_>) -> Option<Vec<InterfacePattern>> {
    match raw {
        None => Some(Vec::new()),
        Some(OneOrMany::One(text)) if text == OFF => Some(Vec::new()),
        Some(written) => named(written, OFF, path, report),
    }
}

/// A list of patterns; `otherwise` is the word that could be there instead.
fn named(
    written: &OneOrMany,
    otherwise: &'static str,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<Vec<InterfacePattern>> {
    let list = match written {
        OneOrMany::One(text) => {
            report.add(path, Problem::NotAList { text: text.clone(), otherwise });
            return None;
        }
        OneOrMany::Many(list) => list,
    };
    if list.is_empty() {
        report.add(path, Problem::NoInterfaces { otherwise });
        return None;
    }
    if list.len() > MAX_PATTERNS {
        let problem = Problem::TooMany { what: "interface patterns", count: list.len(), limit: MAX_PATTERNS };
        report.add(path, problem);
        return None;
    }
    let before = report.errors.len();
    let mut patterns: Vec<InterfacePattern> = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let path = path.index(index);
        let Some(pattern) = report.ok(&path, text.parse::<InterfacePattern>()) else { continue };
        if patterns.contains(&pattern) {
            report.add(&path, Problem::Repeated { value: text.clone() });
        }
        patterns.push(pattern);
    }
    (report.errors.len() == before).then_some(patterns)
}
