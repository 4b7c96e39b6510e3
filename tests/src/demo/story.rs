//! The sequence.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::fault::{Fault, calm, lose_the_agent, strike};
use super::stage::Stage;
use super::table::Act;
use super::voice::Voice;
use crate::Lab;
use crate::lab::{HOSTNAME, Master, VIP};
use crate::pki::Signer;

/// `fall * interval + timeout` of the default settings.
const SILENCE: Duration = Duration::from_secs(3 * 2 + 1);

const FAULTS: [Fault; 3] = [
    Fault {
        name: "m1 killed",
        done: "is killed (SIGKILL)",
        begin: Master::kill,
        undone: "is started again",
        end: Master::start,
        bound: Duration::from_millis(100),
    },
    Fault {
        name: "m2 cut off",
        done: "is cut off: every packet from and to it vanishes, and nobody is told",
        begin: Master::cut,
        undone: "is connected again",
        end: Master::mend,
        bound: SILENCE,
    },
    Fault {
        name: "m3 hangs",
        done: "hangs (SIGSTOP): its kernel still accepts and acknowledges, the process does nothing",
        begin: Master::stop,
        undone: "goes on (SIGCONT)",
        end: Master::cont,
        bound: SILENCE,
    },
];

/// Plays it all and returns the figures.
pub(super) fn play(lab: &Lab, voice: Voice) -> anyhow::Result<Vec<Act>> {
    let hosts_before = fs::read(lab.hosts_file()).context("read the hosts file")?;
    let masters: Vec<String> =
        lab.masters().iter().map(|master| format!("{} at {}", master.name(), master.address())).collect();
    voice.say(&format!("{}; the node is {}", masters.join(", "), lab.node().host().v4()));

    voice.act("the agent starts on the node, with default settings");
    let mut stage = Stage::new(lab, voice)?;
    stage.until_all_up()?;
    ask_by_name(&stage)?;
    let mut acts = vec![calm(&stage)?];
    stage.show(&["backends"])?;

    for (master, fault) in lab.masters().iter().zip(&FAULTS) {
        voice.act(&format!("a disaster: {}", fault.name));
        acts.push(strike(&stage, master, fault)?);
    }
    voice.act("the agent dies, and nobody notices");
    acts.push(lose_the_agent(&mut stage)?);

    voice.act("cleanup");
    stage.end_agent()?;
    stage.show(&["cleanup"])?;
    ensure!(!lab.pins().exists(), "clean up: {} is still there", lab.pins().display());
    let hosts_after = fs::read(lab.hosts_file()).context("read the hosts file")?;
    ensure!(hosts_after == hosts_before, "clean up: the hosts file differs from what it was");
    voice.good("nothing is left: no pin, and the hosts file is what it was, byte for byte");
    Ok(acts)
}

/// One request as anybody on the node makes it, with the node's hosts file in place of this machine's.
fn ask_by_name(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (hosts, ca) = (stage.lab.hosts_file(), stage.lab.pki().ca(Signer::Lab));
    stage.until("the name is in the hosts file", |_| {
        fs::read_to_string(&hosts).is_ok_and(|text| text.contains(HOSTNAME))
    })?;
    let script = r#"mount --bind "$0" /etc/hosts && exec curl -sS --max-time 10 --cacert "$1" -w '\nfrom %{remote_ip} port %{remote_port}' "$2""#;
    let url = format!("https://{HOSTNAME}:6443/whoami");
    let (hosts, ca) = (hosts.to_string_lossy(), ca.to_string_lossy());
    let output =
        stage.lab.node().run(&["unshare", "--mount", "sh", "-c", script, &hosts, &ca, &url])?.success()?;
    stage.voice.say(&format!("$ curl {url}"));
    stage.voice.quote(&output);
    let (ip, _) = VIP.split_once(':').context("read the virtual address")?;
    ensure!(output.contains(&format!("from {ip} ")), "ask by name: curl was connected elsewhere: {output}");
    Ok(())
}
