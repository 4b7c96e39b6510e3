use super::{
    error::{ConfigError, Position},
    path::FieldPath,
    position::Document,
    problem::Problem,
};

/// Where each value comes from: the file, or a flag.
pub(super) struct Sources {
    document: Option<Document>,
    flags: Vec<(FieldPath, String)>,
}

impl Sources {
    pub(super) fn of_file(document: Document) -> Self {
        Self { document: Some(document), flags: Vec::new() }
    }

    pub(super) fn without_file() -> Self {
        Self { document: None, flags: Vec::new() }
    }

    /// The field and all below it come from a flag.
    pub(super) fn set_by_flag(&mut self, path: FieldPath, flag: impl Into<String>) {
        self.flags.push((path, flag.into()));
    }

    /// What is wrong with a field, told of the place where its value was written.
    pub(super) fn error(&self, path: &FieldPath, problem: Problem) -> ConfigError {
        let (path, position) = self.locate(path);
        ConfigError { path, position, problem }
    }

    /// How to call a field when another one's error mentions it.
    pub(super) fn name(&self, path: &FieldPath) -> String {
        self.locate(path).0
    }

    fn locate(&self, path: &FieldPath) -> (String, Option<Position>) {
        let mut ancestors = std::iter::successors(Some(path.clone()), FieldPath::parent);
        let flag = ancestors.find_map(|a| self.flags.iter().find(|(path, _)| *path == a));
        match flag {
            Some((_, flag)) => (flag.clone(), None),
            None => (path.to_string(), self.document.as_ref().map(|d| d.value_at(path))),
        }
    }
}
