//! A configuration that changed, and the dataplane that it may ask for.

use std::{future::pending, mem, sync::Arc};

use jiff::Timestamp;
use lb_core::{
    config::Config,
    control::Event,
    model::{DataplaneKind, Dataplanes},
};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{chain, event_loop::Agent, told};
use crate::dataplane::{self, DataplaneError, Opened};

/// How far a move to other dataplanes has come.
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
    /// The reconciler was told to move to what is there, if all of it is: those in use, and those to return to.
    Returning(Box<Config>),
    /// What lacks is being opened: on a slow machine the kernel takes seconds to verify the programs, and all that
    /// time backends are to be watched.
    Opening(Box<Config>, JoinHandle<Result<Opened, DataplaneError>>),
    /// The reconciler was told to move to what was opened.
    Ordered(Box<Config>),
}

#[derive(Clone, Copy)]
struct Reload {
    forced: bool,
}

/// A configuration that asks for other dataplanes, and what came of opening them.
pub(super) struct Asked {
    config: Config,
    opened: Result<Opened, String>,
}

impl Moving {
    /// Waits until the dataplanes have been opened; for ever where none is. May be dropped and called again.
    pub(super) async fn opened(&mut self) -> Asked {
        let Stage::Opening(config, task) = &mut self.stage else {
            return pending().await;
        };
        let opened = match task.await {
            Ok(opened) => opened.map_err(|error| chain(&error)),
            Err(error) => Err(format!("failed to open a dataplane: {error}")),
        };
        let config = Config::clone(config);
        self.stage = Stage::Settled;
        Asked { config, opened }
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

    /// To what is there already where that is all, else to what is opened for it.
    fn begin_move(&mut self, config: Config) {
        let (wanted, _) = dataplane::preferred(&config);
        let current = self.published.dataplanes();
        if wanted == current {
            self.open(Box::new(config), current.kinds().to_vec());
        } else {
            self.outputs.reconciler.switch(wanted, Vec::new());
            self.moving.stage = Stage::Returning(Box::new(config));
        }
    }

    fn open(&mut self, config: Box<Config>, held: Vec<DataplaneKind>) {
        let (asked, opener) = (config.clone(), self.opener.clone());
        let task = spawn_blocking(move || opener.open(&asked, &held));
        self.moving.stage = Stage::Opening(config, task);
    }

    /// Opens what could not be moved to because it is not there, or has gone meanwhile.
    pub(super) fn open_lacking(&mut self, held: Vec<DataplaneKind>) {
        if let Stage::Returning(config) | Stage::Ordered(config) = mem::take(&mut self.moving.stage) {
            self.open(config, held);
        }
    }

    /// Moves to dataplanes that have been opened, so that a configuration which asks for one that does not work is not
    /// taken.
    pub(super) fn take_opened(&mut self, asked: Asked) {
        match asked.opened {
            // It was taken before, and what it asks for went while the rest was opened.
            Err(error) if asked.config == *self.config => self.published.switched(Err(error)),
            Err(error) => self.refuse(error),
            Ok(opened) if opened.planes.is_empty() && opened.dataplanes == self.published.dataplanes() => {
                self.published.explain(opened.why);
                self.take_config(asked.config, false);
            }
            Ok(opened) => {
                self.order_move(opened, asked.config.clone());
                self.take_config(asked.config, false);
            }
        }
        self.reload_if_asked();
    }

    fn order_move(&mut self, opened: Opened, config: Config) {
        let Opened { dataplanes, planes, why, told } = opened;
        tracing::info!(%dataplanes, why, "moving to another dataplane");
        told.into_iter().for_each(|told| told::forward(told, &self.inputs.signal_tx));
        self.published.explain(why);
        self.moving.stage = Stage::Ordered(Box::new(config));
        self.outputs.reconciler.switch(dataplanes, planes);
    }

    /// Notes how a move ended.
    pub(super) fn take_switched(&mut self, switched: Result<Dataplanes, String>) {
        match (mem::take(&mut self.moving.stage), switched) {
            (Stage::Returning(_), Err(error)) => self.refuse(error),
            (Stage::Returning(config), Ok(dataplanes)) => {
                self.published.explain(dataplane::preferred(&config).1);
                self.published.switched(Ok(dataplanes));
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
