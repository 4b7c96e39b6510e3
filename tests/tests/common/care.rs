//! lbctl in the place of lvscare.

use lb_tests::Lab;
use lb_tests::lab::{Agent, VIP};

/// Starts lbctl with the arguments of the static pod that sealos writes, word for word, and with what it may be told to add.
pub fn pod(lab: &Lab, options: &[&str]) -> Agent {
    let servers: Vec<String> = lab.masters().iter().map(|master| master.address().to_string()).collect();
    let mut words = vec!["care", "--vs", VIP, "--health-path", "/healthz", "--health-schem", "https"];
    words.extend(servers.iter().flat_map(|server| ["--rs", server]));
    words.extend(options);
    lab.spawn_without_config(&words).unwrap()
}

/// As [`pod`], and waits until it answers.
pub fn started(lab: &Lab, options: &[&str]) -> Agent {
    let mut agent = pod(lab, options);
    agent.await_answer().unwrap();
    agent
}

/// The command that cleans up, with more arguments, started.
pub fn clean(lab: &Lab, options: &[&str]) -> Agent {
    lab.spawn_without_config(&[&["care", "--vs", VIP, "-C"], options].concat()).unwrap()
}
