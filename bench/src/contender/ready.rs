//! Waiting until a contender forwards.

use std::time::Duration;

use anyhow::{Context, ensure};
use lb_tests::Lab;
use lb_tests::lab::Agent;
use lb_tests::process::Proc;
use lb_tests::wait::eventually;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);
/// TCP_LISTEN of linux/tcp_states.h, as /proc/PID/net/tcp has it.
const LISTEN: &str = "0A";

/// Waits until somebody in the process's network namespace listens on `port`.
pub(super) fn listens(process: &mut Proc, port: u16) -> anyhow::Result<()> {
    let table = format!("/proc/{}/net/tcp", process.pid());
    let listens = eventually(DEADLINE, &format!("port {port} is listened on"), || {
        if !process.is_running().map_err(|error| error.to_string())? {
            return Ok(false);
        }
        let text = std::fs::read_to_string(&table).map_err(|error| error.to_string())?;
        if text.lines().any(|line| is_listener(line, port)) { Ok(true) } else { Err(process.stderr()) }
    })?;
    ensure!(listens, "it has ended: {}", process.stderr().trim());
    Ok(())
}

/// Waits until the agent's dataplane has every master.
pub(super) fn serves(lab: &Lab, agent: &Agent) -> anyhow::Result<()> {
    eventually(DEADLINE, "the agent serves every master", || {
        let response = agent.request("GET", "/v1/backends", "").map_err(|error| format!("{error:#}"))?;
        let view: Value = serde_json::from_str(&response.body).map_err(|error| error.to_string())?;
        let backends = view["services"][0]["backends"].as_array().map(Vec::as_slice).unwrap_or_default();
        let serving = backends.iter().filter(|backend| backend["serving"] == true).count();
        if serving == lab.masters().len() { Ok(()) } else { Err(response.body) }
    })
    .context("wait for lbctl")
}

/// `sl local_address rem_address st ...`, addresses and ports in hexadecimal: proc(5).
fn is_listener(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let local = fields.next().unwrap_or_default();
    let state = fields.nth(1).unwrap_or_default();
    local.ends_with(&format!(":{port:04X}")) && state == LISTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_listener_of_a_port_in_procs_table() {
        let line =
            "   0: 0100007F:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1";
        assert!(is_listener(line, 8443));
        assert!(!is_listener(line, 8444));
        assert!(!is_listener(&line.replace(" 0A ", " 01 "), 8443));
        assert!(!is_listener("  sl  local_address rem_address   st", 8443));
    }
}
