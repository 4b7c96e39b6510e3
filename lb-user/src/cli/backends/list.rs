use anyhow::Context as _;
use jiff::Timestamp;
use lb_core::{
    config::{Config, Overrides},
    view::{BackendsView, ServiceView},
};

use super::kernel;
use crate::{
    admin::{Client, ClientError},
    cli::{
        exit::Exit,
        globals::Globals,
        known::{self, Known, Paths},
        print,
    },
    dataplane::{self, Held},
    os::capability,
    output::{self, Style},
};

const NO_AGENT: &str = "the agent is not running";

/// Asks the agent, or the kernel where there is none.
pub(super) fn list(bpffs: Option<String>, globals: &Globals) -> anyhow::Result<Exit> {
    let overrides = Overrides { bpffs, ..Overrides::default() };
    let known = Known::find(globals.config.as_deref(), overrides)?;
    let socket = globals.admin_socket.clone().map_or_else(|| known.paths.admin_socket.clone(), Into::into);
    let view = match known::wait_for(Client::new(socket).backends())? {
        Ok(view) => view,
        Err(error @ ClientError::NotRunning { .. }) => without_agent(error, &known)?,
        Err(error) => return Err(error).context("failed to list the backends"),
    };
    print::text(&output::backends(&view, globals.output, Style::for_stdout(), Timestamp::now())?)?;
    Ok(Exit::Done)
}

/// The services of the config and of the kernel, without an agent.
pub(in crate::cli) fn held_services(known: &Known) -> anyhow::Result<Vec<ServiceView>> {
    let Paths { bpffs, state_dir, .. } = &known.paths;
    let configured = known.config.as_ref().map_or(&[][..], |config: &Config| &config.services);
    let held = dataplane::peek(bpffs, state_dir)?.unwrap_or_default();
    Ok(kernel::view(configured, &held).services)
}

fn without_agent(not_running: ClientError, known: &Known) -> anyhow::Result<BackendsView> {
    let failed = "failed to list the backends from the kernel, since no agent runs";
    let Paths { bpffs, state_dir, .. } = &known.paths;
    // Otherwise a file system that may not be looked into would pass for one with nothing pinned.
    capability::require("read the kernel's state").context(failed)?;
    let configured = known.config.as_ref().map_or(&[][..], |config: &Config| &config.services);
    let Some(held) = dataplane::peek(bpffs, state_dir).context(failed)? else {
        anyhow::ensure!(
            !configured.is_empty(),
            anyhow::Error::new(not_running)
                .context("failed to list the backends: nothing is pinned in the kernel")
        );
        print::note(format_args!("{NO_AGENT}, and nothing is pinned below {}", bpffs.display()));
        return Ok(kernel::view(configured, &Held::default()));
    };
    print::note(format_args!("{NO_AGENT}: this is what the kernel holds"));
    Ok(kernel::view(configured, &held))
}
