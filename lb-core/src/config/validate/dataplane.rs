use super::{FieldPath, Problem, Report};
use crate::{
    config::raw::OneOrMany,
    model::{DataplaneKind, Dataplanes},
};

/// `auto`, which is the default, a dataplane, or a list of those that can work together.
pub(super) fn choice(
    raw: &Option<OneOrMany>,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<Option<Dataplanes>> {
    match raw {
        None => Some(None),
        Some(OneOrMany::One(text)) if text == "auto" => Some(None),
        Some(OneOrMany::One(text)) => named(text, &["auto"], path, report).map(|kind| Some(kind.into())),
        Some(OneOrMany::Many(list)) => together(list, path, report).map(Some),
    }
}

fn named(
    text: &str,
    besides: &[&'static str],
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<DataplaneKind> {
    let kind = text.parse().ok();
    if kind.is_none() {
        let all = DataplaneKind::ALL.iter().map(|kind| kind.as_str());
        let choices = besides.iter().copied().chain(all).collect();
        report.add(path, Problem::NotAChoice { text: text.to_owned(), choices });
    }
    kind
}

fn together(list: &[String], path: &FieldPath, report: &mut Report<'_>) -> Option<Dataplanes> {
    if list.is_empty() {
        report.add(path, Problem::NoDataplane);
        return None;
    }
    let mut seen: Vec<DataplaneKind> = Vec::new();
    let mut right = true;
    for (index, text) in list.iter().enumerate() {
        let path = path.index(index);
        let Some(kind) = named(text, &[], &path, report) else {
            right = false;
            continue;
        };
        if seen.contains(&kind) {
            report.add(&path, Problem::Repeated { value: text.clone() });
            right = false;
        } else if let Some(other) = seen.iter().copied().find(|other| !share(kind, *other)) {
            report.add(&path, Problem::NotTogether { dataplane: kind, other });
            right = false;
        }
        seen.push(kind);
    }
    right.then_some(())?;
    match *seen.as_slice() {
        [kind] => Some(kind.into()),
        _ => Some(Dataplanes::SocketAndPacket),
    }
}

/// Whether two of them can work on one node at the same time.
fn share(one: DataplaneKind, other: DataplaneKind) -> bool {
    one != DataplaneKind::Ipvs && other != DataplaneKind::Ipvs
}
