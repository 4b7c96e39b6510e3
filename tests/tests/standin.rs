//! The apiserver stand-in: what it answers, and how it is broken on request.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{SOON, connect, curl, failure, lab, opened, url, watches};
use lb_tests::lab::Launch;
use lb_tests::pki::{Signer, Valid};
use lb_tests::standin::Misbehaviour;
use lb_tests::wait::eventually;
use serde_json::json;

#[test]
fn every_master_answers_over_http2_and_http1() {
    let Some(lab) = lab(3) else { return };
    for master in lab.masters() {
        for path in ["/readyz", "/livez", "/healthz", "/version", "/whoami", "/connections"] {
            assert_eq!(curl(&lab, &["--http2", &url(master, path)]), "2 200");
            assert_eq!(curl(&lab, &["--http1.1", &url(master, path)]), "1.1 200");
        }
        assert_eq!(curl(&lab, &[&url(master, "/nothing")]), "2 404");
        let whoami = lab.node().curl(&["-i", &url(master, "/whoami")]).unwrap().success().unwrap();
        assert!(whoami.contains(&format!("x-served-by: {}", master.name())), "{whoami}");
        assert!(whoami.contains(r#""peer":"192.168.77.10:"#), "{whoami}");
        let stats = master.stats().unwrap();
        assert_eq!(
            stats["requests"],
            json!({"/readyz": 2, "/livez": 2, "/healthz": 2, "/version": 2, "/whoami": 3, "/connections": 2, "other": 1})
        );
        assert_eq!(stats["accepted"], 14);
    }
}

#[test]
fn the_control_socket_changes_what_readyz_answers() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let readyz = url(master, "/readyz");
    master.control("/readyz/503").unwrap();
    assert_eq!(curl(&lab, &[&readyz]), "2 503");
    assert_eq!(curl(&lab, &[&url(master, "/livez")]), "2 200");
    master.control("/readyz/200").unwrap();
    assert_eq!(curl(&lab, &[&readyz]), "2 200");

    master.control("/readyz/pause").unwrap();
    assert_eq!(curl(&lab, &["--max-time", "0.3", &readyz]), "0 000", "a paused readyz hangs");
    assert_eq!(curl(&lab, &[&url(master, "/livez")]), "2 200");
    master.control("/readyz/resume").unwrap();
    assert_eq!(curl(&lab, &[&readyz]), "2 200");

    master.control("/delay/400").unwrap();
    assert_eq!(curl(&lab, &["--max-time", "0.2", &readyz]), "0 000", "a delayed answer is late");
    assert_eq!(curl(&lab, &["--max-time", "5", &readyz]), "2 200");
    assert!(master.control("/readyz/maybe").is_err());
}

#[test]
fn each_misbehaviour_looks_as_it_should() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let errors = [
        ("accept-close", &["eof", "ECONNRESET", "EPIPE"][..]),
        ("garbage", &["tls-garbage"]),
        ("redirect", &["http-302"]),
        ("unauthorized", &["http-401"]),
        ("error500", &["http-500"]),
    ];
    for (name, expected) in errors {
        master.control(&format!("/misbehave/{name}")).unwrap();
        let failure = failure(&lab, "v4", master.address());
        assert!(expected.contains(&failure.as_str()), "{name}: {failure}");
    }
    master.control("/misbehave/endless-body").unwrap();
    let endless = lab
        .node()
        .curl(&["--max-time", "1", "-o", "/dev/null", "-w", "%{size_download}", &url(master, "/readyz")])
        .unwrap();
    assert_eq!(endless.code(), 28, "curl gives up: {}", endless.stderr);
    assert!(endless.stdout.parse::<u64>().unwrap() > 100_000, "{}", endless.stdout);
    master.control("/misbehave/none").unwrap();
    assert_eq!(connect(&lab, "v4", master.address())["ok"], 1);
}

#[test]
fn goaway_ends_a_connection_after_its_first_answer_and_http2_of_strangers_always_ends_so() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let connections = |more: &[&str]| {
        let url = url(master, "/livez");
        // Half a second apart, so that the GOAWAY is there before the second request.
        let paced = ["--rate", "120/m", "-o", "/dev/null", "-o", "/dev/null"];
        let shown = ["-w", "%{num_connects} ", &url, &url];
        lab.node().curl(&[&paced[..], &shown, more].concat()).unwrap().stdout
    };
    let identity = lab.pki().issue_kubelets("worker", Valid::Now).unwrap();
    let [cert, key] = [&identity.cert, &identity.key].map(|path| path.to_str().unwrap());
    let known = ["--http2", "--cert", cert, "--key", key];
    assert_eq!(connections(&known), "1 0 ", "one connection serves both requests");
    assert_eq!(connections(&["--http1.1"]), "1 0 ");
    assert_eq!(connections(&["--http2"]), "1 1 ");
    master.control("/misbehave/goaway").unwrap();
    assert_eq!(connections(&known), "1 1 ");
    assert_eq!(connections(&["--http1.1"]), "1 1 ");
}

#[test]
fn a_master_of_another_ca_or_without_tls_is_not_trusted() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    master.kill().unwrap();
    master.start_as(Launch { signer: Signer::Other, ..Launch::default() }).unwrap();
    assert_eq!(failure(&lab, "v4", master.address()), "tls-certificate");
    master.terminate().unwrap();
    master
        .start_as(Launch { plain: true, misbehaviour: Misbehaviour::Unauthorized, ..Launch::default() })
        .unwrap();
    assert_eq!(failure(&lab, "v4", master.address()), "tls-garbage");
    assert_eq!(curl(&lab, &[&format!("http://{}/readyz", master.address())]), "1.1 401");
}

#[test]
fn sigterm_ends_watches_and_then_the_process() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    let to = master.address().to_string();
    let mut hold = lab.node().spawn_client(&["hold", "--to", &to]).unwrap();
    watches(master, 1);
    master.terminate().unwrap();
    let ended = hold.process().wait_deadline(SOON).unwrap().stdout;
    assert!(ended.contains("ended eof "), "{ended}");
}

#[test]
fn a_delayed_shutdown_serves_on_while_readyz_fails() {
    let Some(lab) = lab(1) else { return };
    let master = lab.master(0);
    master.terminate().unwrap();
    master.start_as(Launch { shutdown_delay: Duration::from_secs(3), ..Launch::default() }).unwrap();
    let mut hold = lab.node().spawn_client(&["hold", "--to", &master.address().to_string()]).unwrap();
    opened(&hold);
    master.ask_to_end().unwrap();
    eventually(SOON, "readyz fails", || match curl(&lab, &[&url(master, "/readyz")]).as_str() {
        "2 500" => Ok(()),
        other => Err(other.to_owned()),
    })
    .unwrap();
    assert_eq!(curl(&lab, &[&url(master, "/livez")]), "2 200");
    assert_eq!(connect(&lab, "v4", master.address())["ok"], 1);
    assert!(hold.process().is_running().unwrap(), "{}", hold.stdout());
    master.terminate().unwrap();
    let ended = hold.process().wait_deadline(SOON).unwrap().stdout;
    assert!(ended.contains("ended eof "), "{ended}");
}
