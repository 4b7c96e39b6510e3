use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use lb_core::{
    config::Config,
    manifest::{self, Invocation},
};

use super::{exit::Exit, globals::Globals, overrides::ConfigArgs, print};

/// The image that is named unless another is asked for.
const IMAGE: &str = concat!("lbctl:", env!("CARGO_PKG_VERSION"));

/// Print a ready file for this config
///
/// For the kubelet, systemd, kubeadm or kubectl. Nothing is written or changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl manifest static-pod --image registry.example.com/lbctl:0.1.0 > /etc/kubernetes/manifests/lbctl.yaml
  lbctl manifest systemd > /etc/systemd/system/lbctl.service
  lbctl manifest kubeadm > kubeadm.yaml
  lbctl manifest rbac | kubectl apply -f -")]
pub(super) struct Manifest {
    /// Which file
    kind: Kind,
    /// The image of the static pod
    #[arg(long, value_name = "IMAGE", default_value = IMAGE, env = "LBCTL_IMAGE", hide_env = true)]
    image: String,
    /// Where lbctl lies on the node, for systemd
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/usr/local/bin/lbctl",
        env = "LBCTL_BINARY",
        hide_env = true
    )]
    binary: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// The agent as a static pod of the kubelet
    StaticPod,
    /// The agent as a unit of systemd, ready before the kubelet starts
    Systemd,
    /// Beside the static pod: until it runs after a reboot, connects to the VIP fail at once
    KubeletDropin,
    /// For kubeadm init and kubeadm join: the endpoint, and the names in the certificates
    Kubeadm,
    /// The permission to watch the cluster's list of apiservers
    Rbac,
}

impl Manifest {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let Self { kind, image, binary, config } = self;
        if let Kind::Rbac = kind {
            print::text(manifest::rbac())?;
            return Ok(Exit::Done);
        }
        let source = config.source(globals);
        let config: Config = source.load().context("failed to write the manifest")?;
        let invocation = Invocation {
            config_file: source.path.map(std::path::absolute).transpose()?,
            overrides: source.overrides,
        };
        let text = match kind {
            Kind::StaticPod => manifest::static_pod(&config, &invocation, &image),
            Kind::Systemd => manifest::systemd(&config, &invocation, &binary),
            Kind::KubeletDropin => manifest::kubelet_dropin(&config),
            Kind::Kubeadm => {
                manifest::kubeadm(&config).context("failed to write the manifest: no service")?
            }
            Kind::Rbac => manifest::rbac().to_owned(),
        };
        print::text(&text)?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use lb_core::config::Overrides;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        globals: Globals,
    }

    fn read(flags: &[(&str, String)]) -> Overrides {
        let words = flags.iter().map(|(flag, value)| format!("--{flag}={value}"));
        let Cli { config, globals } =
            Cli::try_parse_from(std::iter::once("lbctl".to_owned()).chain(words)).unwrap();
        config.source(&globals).overrides
    }

    #[test]
    fn every_flag_about_the_config_comes_back_as_it_was_given() {
        let given = Cli::command()
            .get_arguments()
            .filter(|arg| !arg.is_global_set() || arg.get_id() == "admin_socket")
            .filter_map(|arg| Some((arg.get_long()?, arg.get_id().as_str())))
            .filter(|(flag, _)| *flag != "help")
            .map(|(flag, _)| match flag {
                "fall" | "rise" => (flag, "3".to_owned()),
                "health-expect" => (flag, "200,401".to_owned()),
                "hosts-manage" => (flag, "true".to_owned()),
                _ => (flag, format!("/{flag}")),
            })
            .map(|(flag, value)| (flag.to_owned(), value))
            .collect::<Vec<_>>();
        let given: Vec<_> = given.iter().map(|(flag, value)| (flag.as_str(), value.clone())).collect();
        let mut again = read(&given).flags();
        let mut wanted = given.clone();
        again.sort();
        wanted.sort();
        assert_eq!(again, wanted);
    }
}
