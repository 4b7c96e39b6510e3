//! Where everything is in the file: the YAML parsed once for its shape and places alone.
//!
//! What a config has no use for and what lets a small file become a large one (anchors, aliases, tags, deep
//! nesting) is refused here, before anything else looks at the text.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, Span};

use super::{
    error::{ConfigError, Position},
    path::{FieldPath, Segment},
    problem::{Problem, YamlFeature},
};

/// The deepest nesting: a config has seven levels, the rest is room to say which field is wrong.
pub(super) const MAX_DEPTH: usize = 16;

/// The most values in a file: `MAX_SERVICES` services, each with `MAX_BACKENDS` full backends, have some 14,000.
pub(super) const MAX_VALUES: usize = 50_000;

/// The longest name of a field, in bytes: several times the longest known one, and a bound on a path's length.
pub(super) const MAX_KEY: usize = 64;

/// The shape of a file, with places.
#[derive(Debug)]
pub(super) struct Document {
    root: Option<Node>,
}

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) at: Position,
    /// What it holds.
    pub(super) content: Content,
}

/// What a value holds.
#[derive(Debug)]
pub(super) enum Content {
    /// A scalar.
    Scalar,
    /// Fields by name.
    Mapping(BTreeMap<String, Field>),
    /// Elements.
    Sequence(Vec<Node>),
}

/// A field of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    /// Where its name is.
    pub(super) key_at: Position,
    /// Its value.
    pub(super) value: Node,
}

impl Document {
    /// Reads the shape of a YAML text. Fields given twice are added to `errors`.
    ///
    /// # Errors
    /// The first thing that is no YAML, or YAML that a config must not use.
    pub(super) fn parse(text: &str, errors: &mut Vec<ConfigError>) -> Result<Self, ConfigError> {
        let mut builder = Builder { stack: Vec::new(), root: None, documents: 0, values: 0, errors };
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| syntax_error(&e))?;
            builder.accept(event, span).map_err(|problem| ConfigError {
                path: builder.path().to_string(),
                position: Some(position(span.start)),
                problem,
            })?;
        }
        Ok(Self { root: builder.root })
    }

    /// The top value; `None`: the file is empty, or has only comments.
    pub(super) fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// Where the value of a field is, or that of the nearest parent that exists.
    pub(super) fn value_at(&self, path: &FieldPath) -> Position {
        let Some(mut node) = self.root.as_ref() else { return Position::START };
        for segment in path.segments() {
            let next = match (segment, &node.content) {
                (Segment::Key(key), Content::Mapping(fields)) => fields.get(key).map(|field| &field.value),
                (Segment::Index(index), Content::Sequence(elements)) => elements.get(*index),
                (Segment::Key(_), Content::Scalar | Content::Sequence(_))
                | (Segment::Index(_), Content::Scalar | Content::Mapping(_)) => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node.at
    }
}

/// A mapping or sequence that is not complete yet.
enum Open {
    Mapping { at: Position, fields: BTreeMap<String, Field>, key: Option<(String, Position)> },
    Sequence { at: Position, elements: Vec<Node> },
}

struct Builder<'a> {
    stack: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    values: usize,
    errors: &'a mut Vec<ConfigError>,
}

impl Builder<'_> {
    fn accept(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = position(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.begin_document(),
            Event::Alias(_) => Err(Problem::YamlFeature(YamlFeature::Alias)),
            Event::Scalar(text, _, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.scalar(&text, at, span.is_empty())
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.open(Open::Sequence { at, elements: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.open(Open::Mapping { at, fields: BTreeMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn begin_document(&mut self) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents > 1 { Err(Problem::ManyDocuments) } else { Ok(()) }
    }

    fn scalar(&mut self, text: &str, at: Position, empty: bool) -> Result<(), Problem> {
        let mut at = at;
        if let Some(Open::Mapping { key, .. }) = self.stack.last_mut() {
            match key {
                None if text.len() > MAX_KEY => return Err(Problem::KeyNotText),
                None => {
                    *key = Some((text.to_owned(), at));
                    return Ok(());
                }
                // A value that is not written has no place of its own: the scanner is already further down.
                Some((_, key_at)) if empty => at = *key_at,
                Some(_) => {}
            }
        }
        self.attach(Node { at, content: Content::Scalar })
    }

    fn open(&mut self, open: Open) -> Result<(), Problem> {
        if self.stack.len() == MAX_DEPTH {
            return Err(Problem::TooDeep);
        }
        if let Some(Open::Mapping { key: None, .. }) = self.stack.last() {
            return Err(Problem::KeyNotText);
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let node = match self.stack.pop() {
            Some(Open::Mapping { at, fields, .. }) => Node { at, content: Content::Mapping(fields) },
            Some(Open::Sequence { at, elements }) => Node { at, content: Content::Sequence(elements) },
            None => return Ok(()),
        };
        self.attach(node)
    }

    /// Puts a complete value into what holds it.
    fn attach(&mut self, value: Node) -> Result<(), Problem> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Problem::TooManyValues);
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Open::Sequence { elements, .. }) => elements.push(value),
            Some(Open::Mapping { fields, key, .. }) => {
                let Some((name, key_at)) = key.take() else { return Err(Problem::KeyNotText) };
                let Some(first) = fields.get(&name).map(|field| field.key_at) else {
                    fields.insert(name, Field { key_at, value });
                    return Ok(());
                };
                let path = self.path().key(&name).to_string();
                let problem = Problem::DuplicateField { first };
                self.errors.push(ConfigError { path, position: Some(key_at), problem });
            }
        }
        Ok(())
    }

    /// The field that is being read.
    fn path(&self) -> FieldPath {
        self.stack.iter().fold(FieldPath::root(), |path, open| match open {
            Open::Mapping { key: Some((key, _)), .. } => path.key(key),
            Open::Mapping { key: None, .. } => path,
            Open::Sequence { elements, .. } => path.index(elements.len()),
        })
    }
}

/// Refuses anchors and tags. The parser counts anchors from 1.
fn plain(anchor: usize, tagged: bool) -> Result<(), Problem> {
    if anchor != 0 {
        return Err(Problem::YamlFeature(YamlFeature::Anchor));
    }
    if tagged { Err(Problem::YamlFeature(YamlFeature::Tag)) } else { Ok(()) }
}

fn position(mark: Marker) -> Position {
    Position { line: mark.line().max(1), column: mark.col() + 1 }
}

fn syntax_error(error: &saphyr_parser::ScanError) -> ConfigError {
    ConfigError {
        path: String::new(),
        position: Some(position(*error.marker())),
        problem: Problem::Syntax { detail: error.info().to_owned() },
    }
}
