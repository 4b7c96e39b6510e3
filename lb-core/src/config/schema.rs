//! Which fields exist where, so that every unknown one is found at once, at its own place, with what was
//! meant.

use serde::{Deserialize, Deserializer, de::Visitor, forward_to_deserialize_any};

use super::{
    error::ConfigError,
    path::FieldPath,
    position::{Content, Document, Node},
    problem::Problem,
    raw,
};

/// What a value may hold. What else is wrong with it is serde's to say.
enum Shape {
    /// A mapping of these fields; those with fields of their own are listed.
    Mapping(fn() -> Names, &'static [(&'static str, Shape)]),
    /// A sequence of these.
    Sequence(&'static Shape),
}

type Names = &'static [&'static str];

static CONFIG: Shape = Shape::Mapping(
    names_of::<raw::RawConfig>,
    &[
        ("packet", Shape::Mapping(names_of::<raw::RawPacket>, &[])),
        ("hosts", Shape::Mapping(names_of::<raw::RawHosts>, &[])),
        ("admin", Shape::Mapping(names_of::<raw::RawAdmin>, &[])),
        ("metrics", Shape::Mapping(names_of::<raw::RawMetrics>, &[])),
        ("services", Shape::Sequence(&SERVICE)),
    ],
);

static SERVICE: Shape = Shape::Mapping(
    names_of::<raw::RawService>,
    &[
        ("backends", Shape::Sequence(&Shape::Mapping(names_of::<raw::RawFullBackend>, &[]))),
        (
            "discovery",
            Shape::Mapping(
                names_of::<raw::RawDiscovery>,
                &[("kubernetes", Shape::Mapping(names_of::<raw::RawKubernetes>, &[]))],
            ),
        ),
        ("health", Shape::Mapping(names_of::<raw::RawHealth>, &[])),
        ("rebalance", Shape::Mapping(names_of::<raw::RawRebalance>, &[])),
    ],
);

/// Adds an error for every field that does not exist.
pub(super) fn check(document: &Document, errors: &mut Vec<ConfigError>) {
    if let Some(root) = document.root() {
        walk(root, &CONFIG, &FieldPath::root(), errors);
    }
}

fn walk(node: &Node, shape: &Shape, path: &FieldPath, errors: &mut Vec<ConfigError>) {
    match (&node.content, shape) {
        (Content::Mapping(fields), Shape::Mapping(names, inner)) => {
            let known = names();
            for (name, field) in fields {
                let path = path.key(name);
                if !known.contains(&name.as_str()) {
                    errors.push(ConfigError {
                        path: path.to_string(),
                        position: Some(field.key_at),
                        problem: Problem::UnknownField { known, meant: meant(name, known) },
                    });
                } else if let Some((_, shape)) = inner.iter().find(|(inner, _)| inner == name) {
                    walk(&field.value, shape, &path, errors);
                }
            }
        }
        (Content::Sequence(elements), Shape::Sequence(shape)) => {
            for (index, element) in elements.iter().enumerate() {
                walk(element, shape, &path.index(index), errors);
            }
        }
        (Content::Scalar, Shape::Mapping(..) | Shape::Sequence(_))
        | (Content::Mapping(_), Shape::Sequence(_))
        | (Content::Sequence(_), Shape::Mapping(..)) => {}
    }
}

/// The known name that differs only in case, `-` and `_`, or in a plural's `s`.
fn meant(name: &str, known: Names) -> Option<&'static str> {
    let bare = |s: &str| {
        let letters = s.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase());
        letters.collect::<String>().trim_end_matches('s').to_owned()
    };
    known.iter().copied().find(|k| bare(k) == bare(name))
}

/// The fields of a struct, as its derived `Deserialize` asks for them.
fn names_of<T: for<'de> Deserialize<'de>>() -> Names {
    let mut names: Names = &[];
    // Always an error: the names are all that is wanted.
    let _ = T::deserialize(NamesOnly(&mut names));
    names
}

struct NamesOnly<'a>(&'a mut Names);

impl<'de> Deserializer<'de> for NamesOnly<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("there is no value, only names"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_file() {
        assert_eq!(names_of::<raw::RawHosts>(), ["path", "manage"]);
        assert!(names_of::<raw::RawService>().contains(&"onAllDown"));
        assert!(names_of::<raw::RawHealth>().contains(&"type"));
    }

    #[test]
    fn a_name_that_is_nearly_right_is_guessed() {
        let known = names_of::<raw::RawConfig>();
        for (name, wanted) in [("state_dir", "stateDir"), ("Services", "services"), ("service", "services")] {
            assert_eq!(meant(name, known), Some(wanted));
        }
        assert_eq!(meant("colour", known), None);
    }
}
