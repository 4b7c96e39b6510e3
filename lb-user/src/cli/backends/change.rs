use anyhow::Context as _;
use lb_core::{model::Admin, operator::OperatorRequest, view::BackendView};

use crate::cli::{exit::Exit, globals::Globals, known, print};

/// Asks the agent, and says what is now.
pub(super) fn change(request: OperatorRequest, globals: &Globals) -> anyhow::Result<Exit> {
    let client = known::client(globals)?;
    let (operation, done) = (operation(&request), outcome(&request));
    let backend = known::wait_for(client.operate(request))?.context(operation)?;
    print::data(globals.output, &backend, &sentence(&backend, done))?;
    Ok(Exit::Done)
}

fn operation(request: &OperatorRequest) -> String {
    let verb = match request {
        OperatorRequest::SetAdmin { admin: Admin::Active, .. } => "enable",
        OperatorRequest::SetAdmin { admin: Admin::Draining, .. } | OperatorRequest::Drain { .. } => "drain",
        OperatorRequest::SetAdmin { admin: Admin::Disabled, .. } => "disable",
        OperatorRequest::Add { .. } => "add",
        OperatorRequest::Remove { .. } => "remove",
        OperatorRequest::SetWeight { .. } => "set the weight of",
    };
    format!("failed to {verb} backend {}", request.address())
}

/// What has become of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Changed,
    Added,
    Removed,
}

fn outcome(request: &OperatorRequest) -> Done {
    match request {
        OperatorRequest::SetAdmin { .. }
        | OperatorRequest::Drain { .. }
        | OperatorRequest::SetWeight { .. } => Done::Changed,
        OperatorRequest::Add { .. } => Done::Added,
        OperatorRequest::Remove { .. } => Done::Removed,
    }
}

fn sentence(backend: &BackendView, done: Done) -> String {
    let BackendView { address, admin, health, serving, weight, .. } = backend;
    let what = match done {
        Done::Changed => format!("is now {admin}"),
        Done::Added => format!("added, {admin}"),
        Done::Removed => return format!("{address}: removed\n"),
    };
    let serving = if *serving { "serving" } else { "not serving" };
    format!("{address}: {what} (health {health}, {serving}, weight {weight})\n")
}
