use std::path::Path;

use clap::Args;
use lb_core::config::{Config, ConfigErrors};
use serde::Serialize;

use super::{
    exit::Exit,
    globals::Globals,
    overrides::ConfigArgs,
    print,
    source::{ConfigSourceError, DEFAULT_PATH},
};
use crate::output::Format;

/// Read the config and say what is wrong with it
///
/// Each mistake is a line FILE:LINE:COLUMN: FIELD: MESSAGE on stderr, and the exit code is 2.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl check
  lbctl check -c ./new.yaml
  lbctl check --vip 10.103.97.2:6443 --backend 192.168.0.2:6443")]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Serialize)]
struct View {
    valid: bool,
    errors: Vec<ErrorView>,
}

#[derive(Serialize)]
struct ErrorView {
    path: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    hint: Option<String>,
}

impl Check {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let source = self.config.source(globals);
        let text = match source.load() {
            Ok(config) => {
                let view = View { valid: true, errors: Vec::new() };
                print::data(globals.output, &view, &praise(source.path.as_deref(), &config))?;
                return Ok(Exit::Done);
            }
            Err(error) => error,
        };
        let exit = Exit::of(&text);
        match globals.output {
            Format::Json | Format::Yaml => print::data(globals.output, &View::of(&text), "")?,
            Format::Table | Format::Wide => complain(text, source.path.as_deref()),
        }
        Ok(exit)
    }
}

fn praise(path: Option<&Path>, config: &Config) -> String {
    let name = path.map_or_else(|| "flags".to_owned(), |path| path.display().to_string());
    let services = config.services.len();
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    let plural = |n| if n == 1 { "" } else { "s" };
    format!("{name}: ok ({services} service{}, {backends} backend{})\n", plural(services), plural(backends))
}

fn complain(error: ConfigSourceError, path: Option<&Path>) {
    match error {
        // No prefix: editors jump to FILE:LINE:COLUMN at the beginning of a line.
        ConfigSourceError::Invalid(errors) => {
            eprintln!("{errors}");
            if path.is_none() {
                print::note(format_args!("only flags were read: {DEFAULT_PATH} does not exist"));
            }
        }
        error @ ConfigSourceError::Read { .. } => {
            print::error(&anyhow::Error::new(error).context("failed to check the config"))
        }
    }
}

impl View {
    fn of(error: &ConfigSourceError) -> Self {
        let errors = match error {
            ConfigSourceError::Invalid(ConfigErrors { errors, .. }) => {
                errors.iter().map(ErrorView::of).collect()
            }
            ConfigSourceError::Read { source, .. } => vec![ErrorView {
                path: String::new(),
                line: None,
                column: None,
                message: format!("{error}: {source}"),
                hint: None,
            }],
        };
        Self { valid: false, errors }
    }
}

impl ErrorView {
    fn of(error: &lb_core::config::ConfigError) -> Self {
        Self {
            path: error.path.clone(),
            line: error.position.map(|at| at.line),
            column: error.position.map(|at| at.column),
            message: error.problem.to_string(),
            hint: error.hint(),
        }
    }
}
