//! Environment variables as files set them: environment(5)-like files, and systemd's units.

/// `NAME=value`, one a line, as pam_env(8), systemd's `EnvironmentFile=` and shells take it. The last one counts.
pub(super) fn of_file(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pair = |line: &str| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), unquoted(value.trim()).to_owned()))
    };
    lines.filter_map(pair).collect()
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

/// What a unit or one of its drop-ins says about the environment, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnitLine {
    /// `Environment=`
    Set(String, String),
    /// `Environment=` with nothing behind it: what was set before is forgotten.
    Reset,
    /// `EnvironmentFile=`, with or without the dash that allows for its absence.
    File(String),
}

/// `Environment="A=b c" D=e`, systemd.exec(5); `key` is `DefaultEnvironment` in systemd-system.conf(5).
pub(super) fn of_unit(text: &str, key: &str) -> Vec<UnitLine> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines().map(str::trim) {
        let Some((name, value)) = line.split_once('=') else { continue };
        match name.trim() {
            name if name == key && value.trim().is_empty() => found.push(UnitLine::Reset),
            name if name == key => {
                let pair = |word: String| {
                    word.split_once('=').map(|(name, value)| UnitLine::Set(name.to_owned(), value.to_owned()))
                };
                found.extend(words(value).into_iter().filter_map(pair));
            }
            "EnvironmentFile" => {
                found.push(UnitLine::File(value.trim().trim_start_matches('-').to_owned()));
            }
            _ => {}
        }
    }
    found
}

/// Words at blanks, outside of quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c.is_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            Some(_) | None => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_has_one_a_line_quoted_or_not() {
        let text = "# A=0\nA=1\nexport B=\"x y\"\n C='z'\nnothing\nD=\n";
        let found = of_file(text);
        let pairs: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "x y"), ("C", "z"), ("D", "")]);
    }

    #[test]
    fn a_unit_sets_several_in_a_line_and_may_forget_them() {
        let text = "[Service]\nEnvironment=\"A=b c\" 'D=e' \\\n F=g\nEnvironment=\nEnvironmentFile=-/etc/default/kubelet\nUser=x\n";
        let set = |name: &str, value: &str| UnitLine::Set(name.to_owned(), value.to_owned());
        assert_eq!(
            of_unit(text, "Environment"),
            [
                set("A", "b c"),
                set("D", "e"),
                set("F", "g"),
                UnitLine::Reset,
                UnitLine::File("/etc/default/kubelet".to_owned())
            ]
        );
        assert_eq!(of_unit("DefaultEnvironment=A=b\n", "DefaultEnvironment"), [set("A", "b")]);
    }
}
