use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use lb_core::{
    config::Overrides,
    model::ServiceName,
    operator::OperatorError,
    view::connections::{ConnectionFilter, ConnectionTableView, MAX_ROWS},
};

use super::{
    backends,
    exit::Exit,
    globals::Globals,
    known::{self, Known},
    print,
};
use crate::{
    admin::{Client, ClientError},
    dataplane,
    os::capability,
    output::{self, Rows, Style},
};

/// List the connections that are translated packet by packet
///
/// Those of the packet dataplane, and those of the socket dataplane that were rescued: sent to another backend before they
/// were answered. PORT is the connection's source port on its way to the backend, by which a capture there finds it. Below
/// are the numbers for each backend, and which packets were dropped and why. Without an agent the kernel's table is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl connections
  lbctl connections --summary
  lbctl connections --backend 192.168.0.2:6443 -o wide
  lbctl connections --service apiserver --limit 20 -o json")]
pub(super) struct Connections {
    /// Only those of this service
    #[arg(long, value_name = "NAME", value_parser = backends::service, env = "LBCTL_SERVICE", hide_env = true)]
    service: Option<ServiceName>,
    /// Only those to this backend, such as 192.168.0.2:6443 or [fd00::2]:6443
    #[arg(long, value_name = "ADDR", value_parser = backends::address)]
    backend: Option<SocketAddr>,
    /// List so many at most, up to 10000; all are counted
    #[arg(long, value_name = "N", default_value_t = MAX_ROWS, env = "LBCTL_LIMIT", hide_env = true)]
    limit: usize,
    /// Show the numbers alone
    #[arg(long)]
    summary: bool,
    /// Where to read the kernel's table when no agent runs [default: the config's]
    #[arg(long, value_name = "PATH", env = "LBCTL_BPFFS", hide_env = true)]
    bpffs: Option<String>,
}

impl Connections {
    /// Asks the agent, or the kernel where there is none.
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let limit = if self.summary { 0 } else { self.limit.min(MAX_ROWS) };
        let filter = ConnectionFilter { service: self.service, backend: self.backend, limit };
        let overrides = Overrides { bpffs: self.bpffs, ..Overrides::default() };
        let known = Known::find(globals.config.as_deref(), overrides)?;
        let socket =
            globals.admin_socket.clone().map_or_else(|| known.paths.admin_socket.clone(), Into::into);
        let view = match known::wait_for(Client::new(socket).connections(&filter))? {
            Ok(view) => view,
            Err(ClientError::NotRunning { .. }) => without_agent(&filter, &known)
                .context("failed to list the connections from the kernel, since no agent runs")?,
            Err(error) => return Err(error).context("failed to list the connections"),
        };
        let rows = if self.summary { Rows::None } else { Rows::All };
        print::text(&output::connections(&view, rows, globals.output, Style::for_stdout())?)?;
        Ok(Exit::Done)
    }
}

fn without_agent(filter: &ConnectionFilter, known: &Known) -> anyhow::Result<ConnectionTableView> {
    capability::require("read the kernel's state")?;
    let services = backends::held_services(known)?;
    if let Some(name) = filter.service.as_ref().filter(|name| services.iter().all(|s| s.name != **name)) {
        let known = services.iter().map(|service| service.name.clone()).collect();
        let error = OperatorError::UnknownService { name: name.clone(), known };
        let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        anyhow::bail!("{error}{hint}");
    }
    let view = dataplane::connections(&known.paths.bpffs, filter, &services)?;
    print::note("the agent is not running: this is what the kernel holds");
    Ok(view)
}
