//! Pieces of Markdown.

/// A table; the first column holds names, the others numbers.
#[must_use]
pub fn table(head: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.map(|cell| format!(" {cell} |")).collect();
        format!("|{cells}\n")
    };
    let mut text = line(&mut head.iter().map(AsRef::as_ref));
    let rule = ["---"].into_iter().chain(std::iter::repeat("---:"));
    text.push_str(&line(&mut rule.take(head.len())));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A block of preformatted text.
#[must_use]
pub fn block(text: &str) -> String {
    format!("```text\n{}\n```\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_rule_below_its_head() {
        let text = table(&["", "n"], &[vec!["a".into(), "1".into()]]);
        assert_eq!(text, "|  | n |\n| --- | ---: |\n| a | 1 |\n");
    }
}
