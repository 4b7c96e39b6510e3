use std::{fmt, str::FromStr};

/// The longest name of an interface in bytes: IFNAMSIZ (linux/if.h) is 16 with the terminating NUL.
const NAME_MAX: usize = 15;

/// The name of a network interface, in which `*` stands for any characters, or none, and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfacePattern(String);

/// Why a text is no such pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing.
    #[error("empty interface name")]
    Empty,
    /// Longer than any name.
    #[error("{text:?} has {} bytes, an interface's name has at most {NAME_MAX}", text.len())]
    TooLong {
        /// As written.
        text: String,
    },
    /// With what the kernel takes in no name (`dev_valid_name` in net/core/dev.c).
    #[error("{text:?} has {found:?}, which no interface's name contains")]
    BadCharacter {
        /// As written.
        text: String,
        /// The first such character.
        found: char,
    },
    /// `.` or `..`.
    #[error("{text:?} is no interface's name")]
    Reserved {
        /// As written.
        text: String,
    },
}

impl InterfacePattern {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an interface of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut seen) = (0, 0);
        // Where the last star is, and how much it stands for so far.
        let mut star = None;
        while let Some(character) = name.get(seen) {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || wanted == character => {
                    at += 1;
                    seen += 1;
                }
                Some(_) | None => {
                    let Some((place, stands_for)) = star else { return false };
                    star = Some((place, stands_for + 1));
                    (at, seen) = (place + 1, stands_for + 1);
                }
            }
        }
        pattern.get(at..).is_some_and(|rest| rest.iter().all(|left| *left == '*'))
    }
}

impl FromStr for InterfacePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let owned = || text.to_owned();
        let is_foreign = |c: &char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if let Some(found) = text.chars().find(is_foreign) {
            return Err(PatternError::BadCharacter { text: owned(), found });
        }
        if text.len() > NAME_MAX {
            return Err(PatternError::TooLong { text: owned() });
        }
        if matches!(text, "." | "..") {
            return Err(PatternError::Reserved { text: owned() });
        }
        Ok(Self(owned()))
    }
}

impl fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<InterfacePattern>().unwrap().matches(name)
    }

    #[test]
    fn stars_stand_for_any_and_question_marks_for_one() {
        for (pattern, name, wanted) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth0", "eth", false),
            ("eth?", "eth0", true),
            ("eth?", "eth", false),
            ("eth?", "eth10", false),
            ("veth*", "veth", true),
            ("veth*", "veth1a2b3c4", true),
            ("veth*", "xveth1", false),
            ("*", "anything", true),
            ("*", "", true),
            ("", "", true),
            ("v*-n?c", "vm-x-nic", true),
            ("v*-n?c", "vm-x-nics", false),
            ("*a*a*b", "aaaaaaaab", true),
            ("*a*a*b", "aaaaaaaac", false),
            ("**", "x", true),
            ("tap*.1", "tap7.1", true),
            ("ä?", "äö", true),
        ] {
            let pattern = InterfacePattern(pattern.to_owned());
            assert_eq!(pattern.matches(name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn what_can_be_no_name_is_no_pattern() {
        for text in ["", "a b", "a/b", "eth0:1", "a\n", "1234567890123456", ".", "..", "aäääääääää"]
        {
            assert!(text.parse::<InterfacePattern>().is_err(), "{text:?}");
        }
        for text in ["a", "123456789012345", "*", "?", "eth0.100", "...", "ü"] {
            assert_eq!(text.parse::<InterfacePattern>().unwrap().as_str(), text);
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_with_any_part_starred(name in "[a-z0-9.-]{3,12}", from in 0_usize..3) {
            prop_assume!(!matches!(name.as_str(), "..."));
            prop_assert!(matches(&name, &name));
            let starred = format!("{}*{}", &name[..from], &name[from + 1..]);
            prop_assert!(matches(&starred, &name));
            let asked = format!("{}?{}", &name[..from], &name[from + 1..]);
            prop_assert!(matches(&asked, &name));
            let longer = format!("{name}x");
            prop_assert!(!matches(&asked, &longer));
        }
    }
}
