use std::{collections::BTreeMap, time::Duration};

use lb_core::{
    config::{ConfigDuration, ConfigErrors, Overrides},
    model::{Policy, Scope},
    probe::{CLUSTER_CA, CONNECTION_HEADERS},
};

use super::{
    flags::{CareFlags, CareHealthFlags},
    spelling::{Given, Header},
};

/// What lvscare's flags ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// The configuration that they describe.
    pub(super) overrides: Overrides,
    pub(super) action: Action,
    /// What cannot be had as it was asked for.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Run,
    RunOnce,
    Clean,
}

/// Which dataplane is opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one, or what `auto` takes.
    One(Option<String>),
    /// IPVS, and where that is missing what `auto` takes.
    IpvsElseAuto,
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_PATH: &str = "/healthz";

/// The first status that is not healthy by itself.
const FIRST_BAD_STATUS: u16 = 400;

/// What becomes of the flags, beside those about the node that are lbctl's own.
pub(super) fn map(flags: CareFlags, node: Overrides) -> Mapped {
    let is_set = |switch: &Option<Given<bool>>| given(switch) == Some(true);
    if is_set(&flags.clean) {
        let note =
            "--clean removes what lbctl made on this node, whatever --vs says; what lvscare left stays";
        return Mapped { overrides: node, action: Action::Clean, notes: vec![note.to_owned()] };
    }
    let action = if is_set(&flags.run_once) { Action::RunOnce } else { Action::Run };
    let mut notes = without_meaning(&flags);
    let serves_pods = given(&flags.mode) == Some("link");
    let overrides = Overrides {
        scope: node.scope.clone().or_else(|| serves_pods.then(|| Scope::Node.to_string())),
        // lvscare leaves the name to others.
        hosts_manage: node.hosts_manage.or(Some(false)),
        vip: Some(flags.vs.clone()),
        backends: backends(&flags.rs, &mut notes),
        policy: Some(policy(given(&flags.scheduler), &mut notes).to_string()),
        ..node
    };
    let interval = given(&flags.interval).filter(|interval| !interval.is_zero()).unwrap_or(DEFAULT_INTERVAL);
    let overrides = timing(interval, given(&flags.health.timeout), overrides, &mut notes);
    Mapped { overrides: health(&flags.health, overrides, &mut notes), action, notes }
}

/// Without the host's BPF file system, what the socket dataplane pins ends with the container. IPVS outlives it, and where
/// lvscare ran there is IPVS; it also takes over lvscare's own service, with the connections on it.
pub(super) fn choose_dataplane(asked: Option<String>, pins_outlive_us: bool) -> Choice {
    if asked.is_some() || pins_outlive_us { Choice::One(asked) } else { Choice::IpvsElseAuto }
}

/// Names the flags in errors as they are named here.
pub(super) fn in_lvscares_words(mut errors: ConfigErrors) -> ConfigErrors {
    let names = [
        ("--vip", "--vs"),
        ("--backend", "--rs"),
        ("--health-expect", "--health-status"),
        ("--timeout", "--health-timeout"),
    ];
    for error in &mut errors.errors {
        let (flag, index) = error.path.split_at(error.path.find('[').unwrap_or(error.path.len()));
        if let Some((_, name)) = names.into_iter().find(|(own, _)| *own == flag) {
            error.path = format!("{name}{index}");
        }
    }
    errors
}

fn given<T: Clone>(value: &Option<Given<T>>) -> Option<T> {
    value.as_ref().and_then(|value| value.0.clone())
}

fn unless_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn without_meaning(flags: &CareFlags) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |flag: &str, value: Option<&str>, why: &str| {
        notes.extend(value.map(|value| format!("{flag} {value} has no meaning any more: {why}")));
    };
    let interface = "no interface is made, and one that lvscare made stays unless it is called lvscare";
    note("--iface", unless_empty(&flags.iface), interface);
    note("--ip", unless_empty(&flags.ip), "no route through a gateway is made");
    note("--masqueradebit", unless_empty(&flags.masqueradebit), "no packet is marked");
    let mode = given(&flags.mode);
    note("--mode", mode.filter(|mode| *mode == "route"), "no route through a gateway is made");
    if mode == Some("link") {
        notes.push(
            "--mode link means that pods are served too: neither interface nor chains are made".to_owned(),
        );
    }
    if let Some(logger) = unless_empty(&flags.logger).filter(|logger| !["INFO", "DEBG"].contains(logger)) {
        notes.push(format!("--logger {logger} is taken for INFO"));
    }
    notes
}

fn backends(listed: &[String], notes: &mut Vec<String>) -> Vec<String> {
    let mut backends: Vec<String> = Vec::new();
    for address in listed.iter().filter(|address| !address.is_empty()) {
        if backends.contains(address) {
            notes.push(format!("--rs {address} is given twice and counts once"));
        } else {
            backends.push(address.clone());
        }
    }
    backends
}

fn policy(scheduler: Option<&str>, notes: &mut Vec<String>) -> Policy {
    match scheduler {
        Some("lc" | "wlc") => Policy::LeastConn,
        Some("sh") => Policy::Sticky,
        Some("dh") => {
            notes.push("--scheduler dh is taken for sh: a single destination says nothing".to_owned());
            Policy::Sticky
        }
        _ => Policy::RoundRobin,
    }
}

/// lvscare waits longer for an answer than from probe to probe. Here each probe ends before the next begins.
fn timing(
    interval: Duration,
    asked: Option<Duration>,
    overrides: Overrides,
    notes: &mut Vec<String>,
) -> Overrides {
    let shown = |duration: Duration| ConfigDuration::from(duration).to_string();
    if let Some(asked) = asked.filter(|asked| *asked > interval) {
        let (asked, interval) = (shown(asked), shown(interval));
        notes.push(format!("--health-timeout {asked} is cut to the interval, {interval}"));
    }
    let timeout = asked.unwrap_or(DEFAULT_TIMEOUT).min(interval);
    Overrides { interval: Some(shown(interval)), timeout: Some(shown(timeout)), ..overrides }
}

fn health(flags: &CareHealthFlags, overrides: Overrides, notes: &mut Vec<String>) -> Overrides {
    let path = unless_empty(&flags.path).unwrap_or(DEFAULT_PATH);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let schem = given(&flags.schem).unwrap_or("https");
    Overrides {
        health_type: Some(schem.to_owned()),
        health_path: Some(format!("{slash}{path}")),
        health_expect: healthy(&flags.status),
        health_method: unless_empty(&flags.req_method).map(str::to_owned),
        health_headers: headers(&flags.req_headers, notes),
        health_body: unless_empty(&flags.req_body).map(str::to_owned),
        ca: (schem == "https").then(|| authority(given(&flags.insecure_skip_verify), notes)),
        ..overrides
    }
}

/// A file that must be there, where certificates are to be verified: `auto` would do without one.
fn authority(skip_verify: Option<bool>, notes: &mut Vec<String>) -> String {
    if skip_verify.unwrap_or(true) {
        return "insecure".to_owned();
    }
    notes.push(format!(
        "--health-insecure-skip-verify=false trusts {CLUSTER_CA}, not the image's authorities"
    ));
    CLUSTER_CA.to_owned()
}

/// Everything below 400, and what is said to be healthy from there on.
fn healthy(more: &[Given<u16>]) -> Vec<u16> {
    let mut codes: Vec<u16> = (100..FIRST_BAD_STATUS).collect();
    for code in more.iter().filter_map(|code| code.0).filter(|code| *code >= FIRST_BAD_STATUS) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

/// Of a name that is given twice the later one holds. A value with commas is several.
fn headers(flags: &[Given<Vec<Header>>], notes: &mut Vec<String>) -> Vec<Header> {
    let all = flags.iter().filter_map(|header| header.0.as_ref()).flatten().cloned();
    let (ours, theirs): (Vec<_>, Vec<_>) = all
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .partition(|(name, _)| CONNECTION_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    notes.extend(ours.iter().map(|(name, _)| {
        format!("--health-req-headers {name} is not sent: the connection itself decides on it")
    }));
    let values = |(name, values): Header| {
        let value = |value: &str| (name.clone(), value.to_owned());
        values.split(',').map(value).collect::<Vec<_>>()
    };
    theirs.into_iter().flat_map(values).collect()
}
