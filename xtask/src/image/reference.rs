//! An image's name, as one types it and as containerd stores it.

use std::{fmt, str::FromStr};

/// What containerd and docker put before a name that has no host in it (github.com/distribution/reference, normalize.go).
const DEFAULT_HOST: &str = "docker.io";
/// And before a name of one word.
const DEFAULT_FOLDER: &str = "library";

/// `NAME:TAG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// With everything that a short name leaves out: what a kubelet looks for when a pod names the image.
    pub(super) fn in_full(&self) -> String {
        let Self { name, tag } = self;
        match name.split_once('/') {
            Some((first, _)) if is_host(first) => format!("{name}:{tag}"),
            Some(_) => format!("{DEFAULT_HOST}/{name}:{tag}"),
            None => format!("{DEFAULT_HOST}/{DEFAULT_FOLDER}/{name}:{tag}"),
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    /// # Errors
    /// What is wrong with it: others would refuse the image only when it is loaded.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            Some(_) | None => return Err("it has no tag; hint: lbctl:1.0".to_owned()),
        };
        if !is_tag(tag) {
            return Err(format!("{tag:?} is no tag: letters, digits, `_`, `.` and `-`, at most {MAX_TAG}"));
        }
        let mut parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 1 && is_host(parts[0]) {
            parts.remove(0);
        }
        match parts.iter().find(|part| !is_part(part)) {
            Some(part) => Err(format!("{part:?} is no part of a name: small letters, digits, `_`, `.`, `-`")),
            None => Ok(Self { name: name.to_owned(), tag: tag.to_owned() }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// The longest tag, <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
const MAX_TAG: usize = 128;

fn is_tag(tag: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=MAX_TAG).contains(&tag.len()) && tag.chars().all(is_plain) && !tag.starts_with(['.', '-'])
}

fn is_part(part: &str) -> bool {
    let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separates = |c: char| "_.-".contains(c);
    part.chars().all(|c| is_small(c) || separates(c))
        && part.starts_with(is_small)
        && part.ends_with(is_small)
        && !part.contains("..")
}

/// Whether the first part of a name is where the image lives, rather than a folder.
fn is_host(part: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
    (part.contains(['.', ':']) || part == "localhost") && part.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_stored_as_a_kubelet_will_look_for_it() {
        for (text, in_full) in [
            ("lbctl:0.1.0", "docker.io/library/lbctl:0.1.0"),
            ("team/lbctl:1", "docker.io/team/lbctl:1"),
            ("registry.example.com/lbctl:1", "registry.example.com/lbctl:1"),
            ("registry.example.com:5000/a/b-c:v1_2", "registry.example.com:5000/a/b-c:v1_2"),
            ("localhost/lbctl:1", "localhost/lbctl:1"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.in_full(), in_full);
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn a_name_that_nobody_would_load_is_refused() {
        for text in [
            "",
            "lbctl",
            "lbctl:",
            ":1",
            "Lbctl:1",
            "a//b:1",
            "-a:1",
            "a..b:1",
            "lbctl:a b",
            "lbctl:.1",
            "example.com:5000/lbctl",
            "example.com/:1",
            "ex ample.com/lbctl:1",
            "lbctl@sha256:0",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(format!("lbctl:{}", "1".repeat(129)).parse::<Reference>().is_err());
    }
}
