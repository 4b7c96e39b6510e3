use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("empty name")]
    Empty,
    /// RFC 1123 allows 63 characters in a label and 253 in a host name.
    #[error("{name:?} is longer than {limit} characters")]
    TooLong {
        /// The text.
        name: String,
        /// The most that is allowed.
        limit: usize,
    },
    /// Labels are lower-case letters, digits and hyphens, and begin and end with a letter or digit.
    #[error("{name:?} is not made of lower-case letters, digits and inner hyphens (RFC 1123)")]
    BadLabel {
        /// The text.
        name: String,
    },
}

const LABEL_MAX: usize = 63;
const HOSTNAME_MAX: usize = 253;

fn check_label(label: &str, whole: &str) -> Result<(), NameError> {
    if label.len() > LABEL_MAX {
        return Err(NameError::TooLong { name: whole.to_owned(), limit: LABEL_MAX });
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if label.is_empty() || !label.bytes().all(allowed) || label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::BadLabel { name: whole.to_owned() });
    }
    Ok(())
}

/// A service's name: an RFC 1123 label, as Kubernetes wants of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

/// A host name: RFC 1123 labels joined by dots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Arc<str>);

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        if s.is_empty() {
            return Err(NameError::Empty);
        }
        check_label(s, s)?;
        Ok(Self(s.into()))
    }
}

impl FromStr for Hostname {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        if s.is_empty() {
            return Err(NameError::Empty);
        }
        if s.len() > HOSTNAME_MAX {
            return Err(NameError::TooLong { name: s.to_owned(), limit: HOSTNAME_MAX });
        }
        s.split('.').try_for_each(|label| check_label(label, s))?;
        Ok(Self(s.into()))
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(s: String) -> Result<Self, NameError> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

text_newtype!(ServiceName);
text_newtype!(Hostname);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_rfc_1123() {
        for good in ["a", "apiserver", "a-1", "0"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_names_are_dotted_labels() {
        assert!("apiserver.cluster.local".parse::<Hostname>().is_ok());
        for bad in ["", ".", "a..b", "a.", "bad_name", "UPPER.case", &"x.".repeat(130)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad}");
        }
    }
}
