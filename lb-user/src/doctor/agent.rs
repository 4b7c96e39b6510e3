//! The agent, by its admin socket.

use std::path::Path;

use lb_core::{
    doctor::{AgentFact, Code, Facts},
    view::ServiceView,
};

use super::gap;
use crate::admin::{Client, ClientError};

pub(super) async fn look(socket: &Path, facts: &mut Facts) {
    match Client::new(socket).status().await {
        Ok(status) => {
            let members =
                |service: &ServiceView| service.backends.iter().map(|backend| backend.address).collect();
            facts.members =
                status.services.iter().map(|service| (service.name.to_string(), members(service))).collect();
            let dataplane = status.dataplane;
            let why = || dataplane.error.clone().unwrap_or_else(|| "it does not say why".to_owned());
            facts.agent = Some(AgentFact::Running {
                version: status.agent.version,
                dataplanes: dataplane.dataplanes(),
                ineffective: (!dataplane.effective).then(why),
                warnings: status.warnings,
            });
        }
        Err(ClientError::NotRunning { .. }) => facts.agent = Some(AgentFact::NotRunning),
        Err(error) => gap(facts, Code::Agent, "ask the agent for its status", error),
    }
}
