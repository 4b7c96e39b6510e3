use super::Snapshot;

/// What keeps the node from reaching its services: nothing where every service has a serving backend and the
/// dataplane works.
pub(super) fn obstacles(snapshot: &Snapshot) -> Vec<String> {
    let status = &snapshot.status;
    let mut found = Vec::new();
    if !status.dataplane.effective {
        let why = status.dataplane.error.as_deref().unwrap_or("not proven yet");
        found.push(format!("dataplane {} is not effective: {why}", status.dataplane.dataplanes()));
    }
    let stranded = status.services.iter().filter(|s| !s.backends.iter().any(|b| b.serving));
    found.extend(stranded.map(|s| format!("service {} has no serving backend", s.name)));
    if found.is_empty() && !snapshot.ready {
        found.push("the agent is starting".to_owned());
    }
    found
}
