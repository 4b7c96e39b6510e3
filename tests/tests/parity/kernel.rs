//! What the kernel holds, told by somebody else than the agent: for IPVS ipvsadm(8), for every dataplane `lbctl backends`
//! of a process that finds no agent and so reads the kernel's state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Dataplane, Master, VIP};
use lb_tests::wait::eventually;
use serde_json::Value;
use serde_yaml::Value as Yaml;

/// The kernel follows a verdict within milliseconds.
const FOLLOWS: Duration = Duration::from_secs(1);

/// Services by protocol and address, each with its scheduler and its destinations.
pub type Services = BTreeMap<String, Service>;

/// An IPVS service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    pub scheduler: String,
    /// By address: how packets are forwarded, and the weight.
    pub destinations: BTreeMap<String, (String, u32)>,
}

/// Waits until the kernel holds exactly these backends of the lab's service; those of weight 0 keep their connections and
/// get no new one.
pub fn expect_kernel(lab: &Lab, backends: &[(&Master, u32)]) {
    expect_beside(lab, backends, &Services::new());
}

/// As [`expect_kernel`], where IPVS also holds services of others.
pub fn expect_beside(lab: &Lab, backends: &[(&Master, u32)], others: &Services) {
    let backends: Vec<_> = backends.iter().map(|(master, weight)| (master.address(), *weight)).collect();
    expect_service(lab, VIP, &backends, others);
}

/// As [`expect_kernel`] for the service at `vip`, which is configured as the lab's first one.
pub fn expect_service(lab: &Lab, vip: &str, backends: &[(SocketAddr, u32)], others: &Services) {
    let serving = backends.iter().filter(|(_, weight)| *weight > 0);
    let serving: BTreeMap<String, u64> =
        serving.map(|(address, weight)| (address.to_string(), u64::from(*weight))).collect();
    eventually(FOLLOWS, &format!("the kernel sends connections to {serving:?}"), || {
        let held = held(lab, vip)?;
        if held == serving { Ok(()) } else { Err(format!("to {held:?}")) }
    })
    .unwrap();
    match lab.dataplane() {
        Dataplane::Socket | Dataplane::Packet | Dataplane::SocketAndPacket => {}
        Dataplane::Ipvs | Dataplane::Unsaid => expect_ipvs(lab, vip, backends, others),
    }
}

fn expect_ipvs(lab: &Lab, vip: &str, backends: &[(SocketAddr, u32)], others: &Services) {
    let destination =
        |(address, weight): &(SocketAddr, u32)| (address.to_string(), ("Masq".to_owned(), *weight));
    let destinations = backends.iter().map(destination).collect();
    let service = Service { scheduler: scheduler(lab).to_owned(), destinations };
    let mut expected = others.clone();
    expected.insert(format!("TCP {vip}"), service);
    eventually(FOLLOWS, "IPVS holds what it should", || {
        let held = ipvs(lab)?;
        if held == expected { Ok(()) } else { Err(format!("{held:?} instead of {expected:?}")) }
    })
    .unwrap();
}

/// Weights of the backends to which the kernel sends new connections for `vip`.
fn held(lab: &Lab, vip: &str) -> Result<BTreeMap<String, u64>, String> {
    let nobody = lab.dir().join("nobody.sock");
    let words = ["--admin-socket", nobody.to_str().unwrap(), "backends", "-o", "json"];
    let text = lab.lbctl(&words).and_then(|done| done.success()).map_err(|error| format!("{error:#}"))?;
    let view: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let is_it = |service: &&Value| service["vip"] == vip;
    let service = view["services"].as_array().and_then(|services| services.iter().find(is_it));
    let service = service.ok_or_else(|| format!("no service {vip} in {view}"))?;
    let backends = service["backends"].as_array().ok_or_else(|| format!("no backends in {view}"))?;
    let serving = backends.iter().filter(|backend| backend["serving"] == true);
    Ok(serving
        .filter_map(|backend| Some((backend["address"].as_str()?.to_owned(), backend["weight"].as_u64()?)))
        .collect())
}

/// Every IPVS service in the node's network namespace.
pub fn ipvs(lab: &Lab) -> Result<Services, String> {
    let text = lab.node().run(&["ipvsadm", "-Ln"]).and_then(|done| done.success());
    parse(&text.map_err(|error| format!("{error:#}"))?)
}

/// Reads lines such as `TCP  10.0.0.1:80 wrr` and `  -> 10.0.0.2:80  Masq  1  0  0`, behind three lines of headings.
fn parse(text: &str) -> Result<Services, String> {
    let mut services = Services::new();
    let mut current = None;
    for line in text.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let odd = || format!("ipvsadm prints {line:?}");
        match words[..] {
            ["->", address, forward, weight, _active, _inactive] => {
                let weight = weight.parse().map_err(|_| odd())?;
                let service = current.as_ref().and_then(|name| services.get_mut(name)).ok_or_else(odd)?;
                service.destinations.insert(address.to_owned(), (forward.to_owned(), weight));
            }
            [protocol, address, scheduler, ..] => {
                let name = format!("{protocol} {address}");
                let service = Service { scheduler: scheduler.to_owned(), ..Service::default() };
                services.insert(name.clone(), service);
                current = Some(name);
            }
            _ => return Err(odd()),
        }
    }
    Ok(services)
}

/// What the configured policy is in IPVS.
fn scheduler(lab: &Lab) -> &'static str {
    let config: Yaml = serde_yaml::from_str(&std::fs::read_to_string(lab.config_file()).unwrap()).unwrap();
    match config["services"][0]["policy"].as_str() {
        None | Some("random" | "round-robin") => "wrr",
        Some("least-conn") => "wlc",
        Some("sticky") => "mh",
        Some(other) => unreachable!("the test configures the policy {other}"),
    }
}
