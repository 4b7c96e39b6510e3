use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The value of `--log-level`, the quietest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The value of `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Libraries that tell of every frame and buffer at debug level; only what they warn of matters here.
const TALKATIVE: [&str; 8] =
    ["aya", "h2", "hyper", "mio", "netlink_proto", "netlink_sys", "rustls", "tokio_util"];

/// Sends what the agent and its libraries log to stderr, also what comes through the `log` crate.
pub(super) fn init(level: LogLevel, format: LogFormat) {
    let level = LevelFilter::from(level);
    // Where a message comes from matters only to those who look for a mistake in lbctl.
    let with_target = level >= LevelFilter::DEBUG;
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(colour_on_stderr()).with_target(with_target);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only when there is a subscriber already; that one then does the work.
    let _ = tracing_subscriber::registry().with(targets(level)).with(layer).try_init();
}

/// Colours only on a terminal, and not where `NO_COLOR` is set to anything but the empty string (no-color.org).
pub(super) fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn targets(level: LevelFilter) -> Targets {
    let capped = level.min(LevelFilter::WARN);
    Targets::new().with_default(level).with_targets(TALKATIVE.map(|target| (target, capped)))
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_never_louder_than_asked_for() {
        for (level, loudest) in [
            (LevelFilter::ERROR, Level::ERROR),
            (LevelFilter::WARN, Level::WARN),
            (LevelFilter::TRACE, Level::WARN),
        ] {
            let targets = targets(level);
            assert!(targets.would_enable("h2::codec", &loudest), "{level}");
            assert!(Level::WARN > loudest || !targets.would_enable("h2::codec", &Level::INFO), "{level}");
        }
        assert!(!targets(LevelFilter::ERROR).would_enable("rustls", &Level::WARN));
        assert!(targets(LevelFilter::TRACE).would_enable("lb_user::agent", &Level::TRACE));
    }
}
