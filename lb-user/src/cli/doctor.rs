use std::path::PathBuf;

use clap::Args;
use lb_core::{
    config::Overrides,
    doctor::{self, ConfigFact, Verdict},
};

use super::{
    exit::Exit,
    globals::Globals,
    known::{Known, Paths},
    overrides::ConfigArgs,
    print,
    progress::Progress,
    source::ConfigSource,
};
use crate::{
    doctor::{Host, Options, Places, gather},
    output::{self, Style},
};

/// Look at each precondition and conflict on this node, and say what to do about it
///
/// Nothing is changed: the kernel is asked whether it takes the programs, and forgets them again; each backend is asked
/// for its certificate; where something is programmed, the VIP is dialled once. Works with and without an agent, and
/// without a config as far as things can be told then. docs/doctor.md explains each code.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl doctor
  lbctl doctor -o json | jq '.findings[] | select(.severity != \"ok\")'
  lbctl doctor --vip 10.103.97.2:6443 --backend 192.168.0.2:6443 --hostname apiserver.cluster.local

Exit codes: 0 nothing fails; 4 the kernel or the host lacks what a dataplane needs (DATAPLANE, SOCKET-KERNEL, \
IPVS-KERNEL, PACKET-KERNEL); 5 no permission (CAPABILITIES); 2 the config is wrong (CONFIG); 1 anything else fails. Of several the \
first of 5, 4, 2, 1. Warnings do not count.")]
pub(super) struct Doctor {
    /// Where the host's /etc, /proc, /sys and so on are, for a container that has them mounted elsewhere [default: /]
    #[arg(long, value_name = "PATH", env = "LBCTL_ROOT", hide_env = true)]
    root: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Doctor {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let Self { root, config } = self;
        let (config, paths) = configured(config.source(globals), globals)?;
        let Paths { bpffs, state_dir, hosts, admin_socket } = paths;
        let admin_socket = globals.admin_socket.as_ref().map_or(admin_socket, PathBuf::from);
        let options = Options {
            host: Host::new(root.unwrap_or_else(|| "/".into())),
            config,
            places: Places { bpffs, state_dir, hosts, admin_socket },
        };
        let progress = Progress::on_terminal();
        let facts = gather(options, |step| progress.begin(step));
        drop(progress);
        let report = doctor::judge(&facts);
        print::text(&output::doctor(&report, globals.output, Style::for_stdout())?)?;
        Ok(exit(report.verdict()))
    }
}

/// The configuration, as far as there is one, and where things are.
fn configured(source: ConfigSource, globals: &Globals) -> anyhow::Result<(ConfigFact, Paths)> {
    let Overrides { vip, backends, .. } = &source.overrides;
    if source.path.is_none() && vip.is_none() && backends.is_empty() {
        return Ok((ConfigFact::None, Known::find(None, source.overrides)?.paths));
    }
    match source.load() {
        Ok(config) => Ok((ConfigFact::Good(Box::new(config.clone())), Paths::from(&config))),
        Err(error) => {
            let why = print::chain(&anyhow::Error::new(error));
            let paths = Known::find(globals.config.as_deref(), source.overrides)?.paths;
            Ok((ConfigFact::Bad(why), paths))
        }
    }
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Fine => Exit::Done,
        Verdict::Failing => Exit::Failed,
        Verdict::BadConfig => Exit::Usage,
        Verdict::Lacking => Exit::Missing,
        Verdict::NotAllowed => Exit::Permission,
    }
}
