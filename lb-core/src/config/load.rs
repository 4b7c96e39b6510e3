use super::{
    Config,
    error::{ConfigError, ConfigErrors, Position},
    overlay::{self, Overrides},
    path::FieldPath,
    position::Document,
    problem::Problem,
    raw::RawConfig,
    schema,
    sources::Sources,
    validate,
};

/// The most bytes of a config file: far more than `MAX_SERVICES` full services need.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Makes a configuration of a file's name and text and of what the flags and the environment say; these win.
///
/// # Errors
/// All that is wrong with the values, in one go. A text whose very shape is wrong (no YAML, unknown fields, a
/// mapping where a number should be) is not judged further.
pub fn load(file: Option<(&str, &str)>, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let name = file.map(|(name, _)| name);
    let fail = |errors| ConfigErrors::new(name, errors);
    let (mut raw, mut sources) = match file {
        Some((_, text)) => {
            let (raw, document) = read(text).map_err(fail)?;
            (raw, Sources::of_file(document))
        }
        None => (RawConfig::default(), Sources::without_file()),
    };
    let mut errors = overlay::apply(overrides, &mut raw, &mut sources);
    let config = validate::config(&raw, &sources, &mut errors);
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        Some(_) | None => Err(fail(errors)),
    }
}

/// Reads the text of a file, without judging its values.
fn read(text: &str) -> Result<(RawConfig, Document), Vec<ConfigError>> {
    let whole_file = |problem| ConfigError { path: String::new(), position: Some(Position::START), problem };
    if text.len() > MAX_FILE_BYTES {
        return Err(vec![whole_file(Problem::FileTooLarge { bytes: text.len() })]);
    }
    // Editors on some systems begin a file with a byte order mark; it takes no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut errors = Vec::new();
    let document = match Document::parse(text, &mut errors) {
        Ok(document) => document,
        Err(error) => {
            errors.push(error);
            return Err(errors);
        }
    };
    schema::check(&document, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    if document.root().is_none() {
        return Ok((RawConfig::default(), document));
    }
    let yaml = serde_yaml::Deserializer::from_str(text);
    match serde_path_to_error::deserialize(yaml) {
        Ok(raw) => Ok((raw, document)),
        Err(error) => Err(vec![type_error(&error, &document)]),
    }
}

/// What serde has to say, at the place that our own map knows: serde_yaml gives the place of the parent.
fn type_error(error: &serde_path_to_error::Error<serde_yaml::Error>, document: &Document) -> ConfigError {
    let path = FieldPath::from(error.path());
    let place = error.inner().location();
    let mut detail = error.inner().to_string();
    if let Some(place) = &place {
        let suffix = format!(" at line {} column {}", place.line(), place.column());
        detail = detail.strip_suffix(&suffix).unwrap_or(&detail).to_owned();
    }
    let prefixes = std::iter::successors(Some(path.clone()), FieldPath::parent);
    for prefix in prefixes.map(|prefix| format!("{prefix}: ")) {
        if let Some(rest) = detail.strip_prefix(&prefix) {
            detail = rest.to_owned();
            break;
        }
    }
    let position = match (path.parent(), place) {
        (None, Some(place)) => Position { line: place.line(), column: place.column() },
        (Some(_), _) | (None, None) => document.value_at(&path),
    };
    ConfigError { path: path.to_string(), position: Some(position), problem: Problem::WrongType { detail } }
}
