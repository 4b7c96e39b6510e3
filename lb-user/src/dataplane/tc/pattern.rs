use std::fmt;

/// A pattern of names: `*` stands for any characters, also none, and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether a name fits, as a whole.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut read) = (0, 0);
        // Where the last `*` is, and how many characters of the name come before what it stands for and in it.
        let mut star = None;
        while read < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[read] => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((asterisk, taken)) = star else { return false };
                    star = Some((asterisk, taken + 1));
                    (at, read) = (asterisk + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn asterisks_and_question_marks_stand_for_other_characters() {
        for (pattern, names, others) in [
            ("eth0", &["eth0"][..], &["eth", "eth00", "veth0", ""][..]),
            ("eth*", &["eth", "eth0", "eth0.100"], &["et", "veth0"]),
            ("*", &["", "lo", "cali0123456789a"], &[]),
            ("eth?", &["eth0", "eth?"], &["eth", "eth10"]),
            ("*lan*0", &["vlan0", "lan0", "vxlan10"], &["lan", "lan1"]),
            ("a*b*c", &["abc", "abbbc", "a-b-c-c"], &["acb", "ab"]),
            ("**", &["", "x"], &[]),
            ("", &[""], &["x"]),
            ("*é?", &["né1", "é1"], &["é"]),
        ] {
            let compiled = Pattern::new(pattern);
            for name in names {
                assert!(compiled.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!compiled.matches(name), "{pattern} {name}");
            }
        }
    }

    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|taken| by_definition(rest, &name[taken..])),
            (['?', rest @ ..], [_, name @ ..]) => by_definition(rest, name),
            ([c, rest @ ..], [n, name @ ..]) => c == n && by_definition(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_as_defined(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let (p, n): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Pattern::new(pattern).matches(&name), by_definition(&p, &n));
        }
    }
}
