//! Questions to a running agent, and waiting for its answers.

use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Agent, HOSTNAME, Master, VIP};
use lb_tests::slowness::stretched;
use lb_tests::wait::eventually;
use serde_json::Value;

use super::SOON;

/// Timings of tests that need not see the defaults: from fault to verdict at most [`fast_fall`], and back at most
/// [`fast_rise`].
pub fn fast(yaml: &mut serde_yaml::Value) {
    let health = &mut yaml["services"][0]["health"];
    health["interval"] = written(INTERVAL).into();
    health["timeout"] = written(TIMEOUT).into();
    health["fall"] = FALL.into();
    health["rise"] = RISE.into();
    health["heartbeat"] = written(HEARTBEAT).into();
}

/// The default timings, [`stretched`]: for tests in which no master may be taken for dead.
pub fn unhurried(yaml: &mut serde_yaml::Value) {
    let service = &mut yaml["services"][0];
    service["deadAfter"] = written(Duration::from_secs(4)).into();
    service["health"]["interval"] = written(Duration::from_secs(2)).into();
    service["health"]["timeout"] = written(Duration::from_secs(1)).into();
    service["health"]["heartbeat"] = written(HEARTBEAT).into();
}

/// As [`fast`], and silence is noticed soon enough that the whole keeps within [`fast_fall`]. For tests of silence only: a
/// busy machine may be silent for a moment too.
pub fn alert(yaml: &mut serde_yaml::Value) {
    fast(yaml);
    yaml["services"][0]["health"]["heartbeat"] = written(ALERT_HEARTBEAT).into();
}

/// As a config file has it, [`stretched`].
fn written(duration: Duration) -> String {
    format!("{}ms", stretched(duration).as_millis())
}

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(300);
/// The default.
const HEARTBEAT: Duration = Duration::from_millis(500);
const ALERT_HEARTBEAT: Duration = Duration::from_millis(150);
const FALL: u32 = 2;
const RISE: u32 = 2;

/// `fall * interval + timeout` of [`fast`], as long as on a machine that is not slow.
pub fn fast_fall() -> Duration {
    INTERVAL * FALL + TIMEOUT
}

/// `rise * interval + timeout` of [`fast`], as long as on a machine that is not slow.
pub fn fast_rise() -> Duration {
    INTERVAL * RISE + TIMEOUT
}

/// Starts the agent and waits until every master is up and the kernel knows.
pub fn running(lab: &Lab) -> Agent {
    let agent = lab.start_agent().unwrap();
    all_up(lab, &agent);
    eventually(SOON, "the kernel is programmed", || {
        let response = agent.request("GET", "/readyz", "").map_err(|error| format!("{error:#}"))?;
        if response.status == 200 { Ok(()) } else { Err(format!("{response:?}")) }
    })
    .unwrap();
    agent
}

/// Waits until every master is up and serves, unless an operator or `prefer: local` keeps it back.
pub fn all_up(lab: &Lab, agent: &Agent) {
    for master in lab.masters() {
        let address = master.address();
        await_backend(agent, address, &format!("{address} is up and serves"), SOON, |backend| {
            let reason = backend["reason"].as_str().unwrap_or_default();
            let kept_back = backend["admin"] != "active" || reason.contains("local backend goes first");
            backend["health"] == "up" && (backend["serving"] == true || kept_back)
        });
    }
}

/// Waits until the hosts file maps the service's name to its virtual address, and returns the file.
pub fn named(lab: &Lab) -> String {
    let (ip, _) = VIP.split_once(':').unwrap();
    eventually(SOON, "the hosts file has the entry", || {
        let hosts = std::fs::read_to_string(lab.hosts_file()).unwrap_or_default();
        let is_ours = |line: &&str| line.starts_with(ip) && line.contains(HOSTNAME);
        if hosts.lines().filter(is_ours).count() == 1 { Ok(hosts) } else { Err(hosts) }
    })
    .unwrap()
}

/// The backends of all services, as the admin API gives them.
pub fn backends(agent: &Agent) -> Result<Vec<Value>, String> {
    let response = agent.request("GET", "/v1/backends", "").map_err(|error| format!("{error:#}"))?;
    of_services(&serde_json::from_str(&response.body).map_err(|error| error.to_string())?)
}

/// The backends of all services, as `lbctl backends -o json` gives them.
pub fn listed(lab: &Lab) -> Vec<Value> {
    let text = lab.lbctl(&["backends", "-o", "json"]).unwrap().success().unwrap();
    of_services(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// What `lbctl status -o json` gives.
pub fn status(lab: &Lab) -> Value {
    let text = lab.lbctl(&["status", "-o", "json"]).unwrap().success().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The one of `backends` with this address.
pub fn of_address(backends: &[Value], address: SocketAddr) -> Result<Value, String> {
    let is_it = |backend: &&Value| backend["address"] == address.to_string();
    backends.iter().find(is_it).cloned().ok_or_else(|| format!("no backend {address} in {backends:?}"))
}

/// Waits until `holds` is true of a backend, and returns it.
pub fn await_backend(
    agent: &Agent,
    address: SocketAddr,
    what: &str,
    deadline: Duration,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    eventually(deadline, what, || {
        let backend = of_address(&backends(agent)?, address)?;
        if holds(&backend) { Ok(backend) } else { Err(backend.to_string()) }
    })
    .unwrap()
}

/// Waits until a backend has this health, and returns it.
pub fn await_health(agent: &Agent, address: SocketAddr, health: &str, deadline: Duration) -> Value {
    let what = format!("{address} is {health}");
    await_backend(agent, address, &what, deadline, |backend| backend["health"] == health)
}

/// Waits until exactly these masters serve.
pub fn await_serving(agent: &Agent, serving: &[&Master], deadline: Duration) {
    let wanted: Vec<String> = serving.iter().map(|master| master.address().to_string()).collect();
    eventually(deadline, &format!("{wanted:?} serve"), || {
        let backends = backends(agent)?;
        let serves = |backend: &&Value| backend["serving"] == true;
        let now: Vec<&str> = backends.iter().filter(serves).filter_map(|b| b["address"].as_str()).collect();
        if now == wanted { Ok(()) } else { Err(format!("{now:?} do; {backends:?}")) }
    })
    .unwrap();
}

fn of_services(view: &Value) -> Result<Vec<Value>, String> {
    let services = view["services"].as_array().ok_or_else(|| format!("no services in {view}"))?;
    Ok(services.iter().filter_map(|service| service["backends"].as_array()).flatten().cloned().collect())
}
