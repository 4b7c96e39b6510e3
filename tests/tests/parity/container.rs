//! IPVS from within a container, where /proc/sys is read-only.

use std::path::Path;

use lb_tests::Lab;
use lb_tests::binaries;
use lb_tests::lab::VIP;
use lb_tests::process::Finished;
use lb_tests::slowness::stretched;

use super::setup::Setup;
use crate::common::SOON;
use crate::common::load::requests;
use crate::common::quiet::beside_others;

/// `run --once`, in a mount namespace where /proc/sys is as container runtimes mount it.
fn once(lab: &Lab) -> Finished {
    let script = format!(
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
         exec {} --config {} run --once --wait 10s",
        binaries::lbctl().unwrap().display(),
        lab.config_file().display()
    );
    let mut process = lab.node().spawn(Path::new("unshare"), &["--mount", "sh", "-c", &script]).unwrap();
    process.wait_deadline(stretched(SOON)).unwrap()
}

/// Each setting is what the manifest asks for, or is named with what to do.
pub fn read_only_settings(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(2) else { return };
    let refused = once(&lab);
    assert_ne!(refused.code(), 0);
    for part in ["net.ipv4.vs.", "set it on the node beforehand"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    // As /etc/sysctl.d does it at boot, by what the static pod's file says.
    let config = lab.config_file();
    let words =
        [binaries::lbctl().unwrap(), "--config".into(), config, "manifest".into(), "static-pod".into()];
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let manifest = lab.node().run(&words).unwrap().success().unwrap();
    let settings = manifest.lines().filter_map(|line| line.strip_prefix("# net.ipv4.vs."));
    let mut set = 0;
    for (name, value) in settings.filter_map(|setting| setting.split_once('=')) {
        let write = format!("echo {value} > /proc/sys/net/ipv4/vs/{name}");
        lab.node().run(&["sh", "-c", &write]).unwrap().success().unwrap();
        set += 1;
    }
    assert_eq!(set, 2, "{manifest}");
    let done = once(&lab);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(requests(lab.node(), VIP, "v4", 20).ok(), 20);
}
