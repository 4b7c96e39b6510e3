//! What an operator asks for at run time.

use std::net::SocketAddr;

use super::{Adopted, Controller, Effect, Now, membership};
use crate::{
    config::ServiceConfig,
    model::{Admin, BackendKey, MAX_BACKENDS},
    operator::{OperatorError, OperatorRequest},
    state::RuntimeChange,
    view::BackendView,
};

impl Controller {
    /// Does it, or says why not; then nothing has changed.
    pub(super) fn operate(
        &mut self,
        now: Now,
        request: &OperatorRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<BackendView, OperatorError> {
        let service = self.service_meant(request)?.clone();
        let key = BackendKey { service: service.name.clone(), address: request.address() };
        let mut kept = self.state.get(&key);
        let config = membership::configured_weight(&service, key.address);
        let before = self.backend_view(now, &service, &key);
        match request {
            OperatorRequest::SetAdmin { admin, .. } => {
                self.known(&key)?;
                kept.admin = *admin;
                kept.drain_until = None;
            }
            OperatorRequest::Drain { timeout, .. } => {
                self.known(&key)?;
                kept.admin = Admin::Draining;
                kept.drain_until = Some(now.wall + *timeout);
            }
            OperatorRequest::SetWeight { weight, .. } => {
                self.known(&key)?;
                kept.runtime = runtime(Some(*weight), config);
            }
            OperatorRequest::Add { weight, .. } => {
                self.addable(&service, key.address)?;
                kept.runtime = runtime(Some(*weight), config);
            }
            OperatorRequest::Remove { .. } => {
                self.known(&key)?;
                let comes_back = config.is_some() || self.is_listed(&key);
                let runtime = comes_back.then_some(RuntimeChange { weight: None, config });
                kept = crate::state::BackendState { runtime, ..Default::default() };
            }
        }
        self.state.set(&key, kept);
        effects.push(Effect::Persist(self.state.clone()));
        self.track_members(now, &Adopted::default(), effects);
        // Who serves follows from the change, and the answer shows it.
        self.probe_due(now, effects);
        self.decide(now, effects);
        let after = match request {
            OperatorRequest::Remove { .. } => before,
            OperatorRequest::SetAdmin { .. }
            | OperatorRequest::Drain { .. }
            | OperatorRequest::SetWeight { .. }
            | OperatorRequest::Add { .. } => self.backend_view(now, &service, &key),
        };
        after.ok_or(OperatorError::UnknownBackend { service: key.service, address: key.address })
    }

    fn service_meant(&self, request: &OperatorRequest) -> Result<&ServiceConfig, OperatorError> {
        let services = &self.config.services;
        let known = || services.iter().map(|s| s.name.clone()).collect();
        match (request.service(), services.as_slice()) {
            (Some(name), _) => services
                .iter()
                .find(|s| s.name == *name)
                .ok_or_else(|| OperatorError::UnknownService { name: name.clone(), known: known() }),
            (None, [only]) => Ok(only),
            (None, _) => Err(OperatorError::AmbiguousService { known: known() }),
        }
    }

    fn known(&self, key: &BackendKey) -> Result<(), OperatorError> {
        let known = self.backends.get(key).is_some_and(|tracked| !tracked.leaving);
        let unknown = || OperatorError::UnknownBackend { service: key.service.clone(), address: key.address };
        known.then_some(()).ok_or_else(unknown)
    }

    fn addable(&self, service: &ServiceConfig, address: SocketAddr) -> Result<(), OperatorError> {
        let key = BackendKey { service: service.name.clone(), address };
        let count = self.of_service(service).filter(|(_, tracked)| !tracked.leaving).count();
        if self.known(&key).is_ok() {
            return Err(OperatorError::AlreadyThere { service: key.service, address });
        }
        if address.port() == 0 {
            return Err(OperatorError::ZeroPort { address });
        }
        if address.is_ipv4() != service.vip.is_ipv4() {
            return Err(OperatorError::FamilyMismatch { vip: service.vip, address });
        }
        if self.config.services.iter().any(|s| s.vip == address) {
            return Err(OperatorError::BackendIsVip { address });
        }
        if count >= MAX_BACKENDS {
            return Err(OperatorError::TooMany { service: key.service, most: MAX_BACKENDS });
        }
        Ok(())
    }
}

/// The change to keep; none where it says what the config says anyway.
fn runtime(weight: Option<u16>, config: Option<u16>) -> Option<RuntimeChange> {
    (weight != config).then_some(RuntimeChange { weight, config })
}
