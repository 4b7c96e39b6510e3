//! A configuration that changed, and the dataplane that it may ask for.

use std::{future::pending, mem, sync::Arc};

use jiff::Timestamp;
use lb_core::{config::Config, control::Event, model::DataplaneKind};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{chain, event_loop::Agent, told};
use crate::dataplane::{self, DataplaneError, Opened, Reopened};

/// How far a move to another dataplane has come.
#[derive(Default)]
pub(super) struct Moving {
    stage: Stage,
    /// The configuration has changed meanwhile. It is read when the move is over, so that moves never overlap.
    reload: Option<Reload>,
}

#[derive(Default)]
enum Stage {
    /// There is none.
    #[default]
    Settled,
    /// The reconciler was told to move back, if there is something to move back to.
    Returning(Box<Config>),
    /// The dataplane is being opened: on a slow machine the kernel takes seconds to verify the programs, and all that
    /// time backends are to be watched.
    Opening(Box<Config>, JoinHandle<Result<Reopened, DataplaneError>>),
    /// The reconciler was told to move to it.
    Ordered,
}

#[derive(Clone, Copy)]
struct Reload {
    forced: bool,
}

/// A configuration that asks for another dataplane, and what came of opening that.
pub(super) struct Asked {
    config: Config,
    reopened: Result<Reopened, String>,
}

impl Moving {
    /// Waits until the dataplane has been opened; for ever where none is. May be dropped and called again.
    pub(super) async fn opened(&mut self) -> Asked {
        let Stage::Opening(config, task) = &mut self.stage else {
            return pending().await;
        };
        let reopened = match task.await {
            Ok(reopened) => reopened.map_err(|error| chain(&error)),
            Err(error) => Err(format!("failed to open a dataplane: {error}")),
        };
        let config = Config::clone(config);
        self.stage = Stage::Settled;
        Asked { config, reopened }
    }
}

impl Agent {
    /// Reads the configuration again; when it is wrong the old one stays in force.
    pub(super) fn reload(&mut self, forced: bool) {
        if forced {
            self.outputs.probers.renew_trust();
        }
        if !matches!(self.moving.stage, Stage::Settled) {
            let forced = forced || self.moving.reload.is_some_and(|reload| reload.forced);
            self.moving.reload = Some(Reload { forced });
            return;
        }
        match self.source.load() {
            Err(error) => self.refuse(chain(&error)),
            Ok(config) if config.dataplane != self.config.dataplane => self.begin_move(config),
            Ok(config) => self.take_config(config, forced),
        }
    }

    /// Back to a dataplane that connections still hang on, if it is one, else to one that is opened for it.
    fn begin_move(&mut self, config: Config) {
        let (kind, _) = dataplane::preferred(&config);
        if kind == self.published.kind() {
            self.open(Box::new(config));
        } else {
            self.outputs.reconciler.switch_back(kind);
            self.moving.stage = Stage::Returning(Box::new(config));
        }
    }

    fn open(&mut self, config: Box<Config>) {
        let (asked, log, current) = (config.clone(), self.bpf_log, self.published.kind());
        let task = spawn_blocking(move || dataplane::reopen(&asked, log, current));
        self.moving.stage = Stage::Opening(config, task);
    }

    /// Opens the dataplane that could not be returned to.
    pub(super) fn open_instead(&mut self) {
        if let Stage::Returning(config) = mem::take(&mut self.moving.stage) {
            self.open(config);
        }
    }

    /// Moves to a dataplane that has been opened, so that a configuration which asks for one that does not work is not
    /// taken.
    pub(super) fn take_opened(&mut self, asked: Asked) {
        match asked.reopened {
            Err(error) => self.refuse(error),
            Ok(Reopened::Same { why }) => {
                self.published.explain(why);
                self.take_config(asked.config, false);
            }
            Ok(Reopened::Other(opened)) => {
                self.order_move(*opened);
                self.take_config(asked.config, false);
            }
        }
        self.reload_if_asked();
    }

    fn order_move(&mut self, opened: Opened) {
        let Opened { plane, why, logger, signals } = opened;
        tracing::info!(kind = %plane.kind(), why, "moving to another dataplane");
        if let Some(logger) = logger {
            tokio::spawn(told::forward_kernel_log(logger));
        }
        if let Some(signals) = signals {
            tokio::spawn(told::forward_signals(signals, self.inputs.signal_tx.clone()));
        }
        self.published.explain(why);
        self.moving.stage = Stage::Ordered;
        self.outputs.reconciler.switch(plane);
    }

    /// Notes how a move ended.
    pub(super) fn take_switched(&mut self, switched: Result<DataplaneKind, String>) {
        match (mem::take(&mut self.moving.stage), switched) {
            (Stage::Returning(_), Err(error)) => self.refuse(error),
            (Stage::Returning(config), Ok(kind)) => {
                self.published.explain(dataplane::preferred(&config).1);
                self.published.switched(Ok(kind));
                self.take_config(*config, false);
            }
            (_, switched) => self.published.switched(switched),
        }
        self.reload_if_asked();
    }

    fn reload_if_asked(&mut self) {
        if matches!(self.moving.stage, Stage::Settled)
            && let Some(Reload { forced }) = self.moving.reload.take()
        {
            self.reload(forced);
        }
    }

    fn refuse(&mut self, error: String) {
        if self.published.config_error.as_ref() != Some(&error) {
            tracing::error!("the new configuration is not taken: {error}");
        }
        self.published.config_error = Some(error);
    }

    fn take_config(&mut self, config: Config, forced: bool) {
        self.published.config_error = None;
        if config == *self.config {
            if forced {
                tracing::info!("the configuration was read again and is unchanged");
                self.published.config_loaded = Timestamp::now();
            }
            return;
        }
        self.published.reloaded(&self.config, &config, Timestamp::now());
        tracing::info!("the configuration has changed; the new one is in force");
        self.config = Arc::new(config);
        self.outputs.followers.keep(&self.config);
        self.handle(Event::Reloaded(self.config.clone()));
    }
}
