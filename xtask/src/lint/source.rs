//! Rust source reduced to its code.

/// `text` with the contents of comments, strings and character literals blanked out; lines keep their numbers.
pub(crate) fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(next) = rest.chars().next() {
        let skipped = literal_or_comment(rest, previous);
        if skipped > 0 {
            let (gone, remaining) = rest.split_at(skipped);
            code.push(' ');
            code.extend(gone.chars().filter(|c| *c == '\n'));
            previous = ' ';
            rest = remaining;
        } else {
            code.push(next);
            previous = next;
            rest = &rest[next.len_utf8()..];
        }
    }
    code
}

/// How many bytes at the start of `rest` are a comment or a literal; 0 for code.
fn literal_or_comment(rest: &str, previous: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(contents) = rest.strip_prefix('"') {
        return 1 + escaped_until(contents, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    let starts_word = !previous.is_alphanumeric() && previous != '_';
    if starts_word { raw_string(rest) } else { 0 }
}

fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length up to and including the next `end` that no backslash precedes.
fn escaped_until(rest: &str, end: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices() {
        if !is_escaped && c == end {
            return at + c.len_utf8();
        }
        is_escaped = !is_escaped && c == '\\';
    }
    rest.len()
}

/// A character literal, as against a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => 1 + escaped_until(&rest[1..], '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// `r"..."`, `r#"..."#`, `br"..."`, `cr"..."`.
fn raw_string(rest: &str) -> usize {
    let Some(after) = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix)) else { return 0 };
    let hashes = after.len() - after.trim_start_matches('#').len();
    let Some(contents) = after[hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - contents.len();
    contents.find(&end).map_or(rest.len(), |at| start + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_remains() {
        for (text, gone, kept) in [
            ("a(); // word\nb();", true, "b();"),
            ("a(/* word /* word */ word */ b);", true, "b);"),
            ("a(\"word \\\" word\", b);", true, ", b);"),
            ("a(r#\"word \" word\"#, b);", true, ", b);"),
            ("a(br\"word\\\", b);", true, ", b);"),
            ("a('\"', word);", false, ", word);"),
            ("a('\\'', word);", false, ", word);"),
            ("fn a<'a>(x: &'a str) { word }", false, "word }"),
            ("let r#word = 1;", false, "r#word = 1;"),
            ("let r = \"x\"; word", false, "word"),
        ] {
            let code = without_comments_and_literals(text);
            assert_eq!(!code.contains("word"), gone, "{text} -> {code}");
            assert!(code.contains(kept), "{text} -> {code}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n/* 2\n3 */\n\"4\n5\"\n// 6\nb";
        let code = without_comments_and_literals(text);
        assert_eq!(code.lines().count(), 7);
        assert_eq!(code.lines().last(), Some("b"));
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'", "'\\", "// é"] {
            assert!(!without_comments_and_literals(text).contains("abc"), "{text}");
        }
    }
}
