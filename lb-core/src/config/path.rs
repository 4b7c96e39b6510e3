use std::fmt;

/// Where a field is in the file: `services[0].backends[1].address`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldPath(Vec<Segment>);

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// To a field of a mapping.
    Key(String),
    /// To an element of a sequence.
    Index(usize),
}

impl FieldPath {
    /// The path of the whole file.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The path of a service.
    pub(super) fn service(index: usize) -> Self {
        Self::root().key("services").index(index)
    }

    /// The path of this mapping's field.
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// The path of this sequence's element.
    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The path of the mapping or sequence that holds this; `None` at the top.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// The steps from the top.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl From<&serde_path_to_error::Path> for FieldPath {
    /// The steps as far as they have names: a key that is no string ends the path.
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Step;
        let segment = |step: &Step| match step {
            Step::Seq { index } => Some(Segment::Index(*index)),
            Step::Map { key } => Some(Segment::Key(key.clone())),
            Step::Enum { .. } | Step::Unknown => None,
        };
        Self(path.iter().map_while(segment).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let dot = if depth == 0 { "" } else { "." };
                    // A key that would break the line or the path is quoted.
                    if !key.is_empty() && key.chars().all(plain) {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_people_write_it() {
        let backend = FieldPath::service(0).key("backends").index(1);
        assert_eq!(backend.key("address").to_string(), "services[0].backends[1].address");
        assert_eq!(backend.parent().map(|p| p.to_string()).as_deref(), Some("services[0].backends"));
        assert_eq!(FieldPath::root().key("a.b\n").to_string(), r#""a.b\n""#);
        assert_eq!(FieldPath::root().parent(), None);
    }
}
