use super::{
    error::ConfigError,
    path::FieldPath,
    problem::Problem,
    raw::{Number, OneOrMany, RawBackend, RawConfig, RawHealth, RawService},
    sources::Sources,
};

/// The name of the service that flags describe when there is no file.
pub const DEFAULT_SERVICE: &str = "apiserver";

/// What the flags and the environment say, as text: it is judged together with the file, by the same rules.
///
/// Those from `vip` on describe one service: the file's, which must then have no more than one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the one of the same name in the file")]
pub struct Overrides {
    /// Several are separated by commas.
    pub dataplane: Option<String>,
    pub rescue: Option<String>,
    pub scope: Option<String>,
    pub cgroup: Option<String>,
    pub bpffs: Option<String>,
    pub state_dir: Option<String>,
    pub hosts_path: Option<String>,
    pub hosts_manage: Option<bool>,
    pub admin_socket: Option<String>,
    pub metrics_listen: Option<String>,
    pub vip: Option<String>,
    /// Replace all of the file's.
    pub backends: Vec<String>,
    pub hostname: Option<String>,
    pub policy: Option<String>,
    pub prefer: Option<String>,
    pub health_type: Option<String>,
    pub health_path: Option<String>,
    /// Replace all of the file's.
    pub health_expect: Vec<u16>,
    /// Only here: the file has no such field.
    pub health_method: Option<String>,
    /// Names and values. Only here: the file has no such field.
    pub health_headers: Vec<(String, String)>,
    /// Only here: the file has no such field.
    pub health_body: Option<String>,
    pub ca: Option<String>,
    pub server_name: Option<String>,
    pub interval: Option<String>,
    pub timeout: Option<String>,
    pub fall: Option<u32>,
    pub rise: Option<u32>,
    pub heartbeat: Option<String>,
    pub dead_after: Option<String>,
    pub on_down: Option<String>,
    pub on_all_down: Option<String>,
}

impl Overrides {
    /// The flags of `lbctl run` that say this, without their dashes, each with its value. For method, headers and body of a
    /// probe there are none.
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        let listed = |numbers: &[u16]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let texts = [
            ("dataplane", &self.dataplane),
            ("rescue", &self.rescue),
            ("scope", &self.scope),
            ("cgroup", &self.cgroup),
            ("bpffs", &self.bpffs),
            ("state-dir", &self.state_dir),
            ("hosts-path", &self.hosts_path),
            ("admin-socket", &self.admin_socket),
            ("metrics-listen", &self.metrics_listen),
            ("vip", &self.vip),
            ("hostname", &self.hostname),
            ("policy", &self.policy),
            ("prefer", &self.prefer),
            ("health-type", &self.health_type),
            ("health-path", &self.health_path),
            ("ca", &self.ca),
            ("server-name", &self.server_name),
            ("interval", &self.interval),
            ("timeout", &self.timeout),
            ("heartbeat", &self.heartbeat),
            ("dead-after", &self.dead_after),
            ("on-down", &self.on_down),
            ("on-all-down", &self.on_all_down),
        ];
        let texts = texts.into_iter().filter_map(|(flag, text)| Some((flag, text.clone()?)));
        let backends = self.backends.iter().map(|backend| ("backend", backend.clone()));
        let others = [
            ("hosts-manage", self.hosts_manage.map(|manage| manage.to_string())),
            (
                "health-expect",
                Some(&self.health_expect).filter(|codes| !codes.is_empty()).map(|codes| listed(codes)),
            ),
            ("fall", self.fall.map(|n| n.to_string())),
            ("rise", self.rise.map(|n| n.to_string())),
        ];
        let others = others.into_iter().filter_map(|(flag, text)| Some((flag, text?)));
        texts.chain(backends).chain(others).collect()
    }
}

/// Puts the overrides into what the file says, and notes which fields they set.
pub(super) fn apply(overrides: &Overrides, raw: &mut RawConfig, sources: &mut Sources) -> Vec<ConfigError> {
    apply_globals(overrides, raw, sources);
    let Some(flag) = first_service_flag(overrides) else { return Vec::new() };
    let services = raw.services.get_or_insert_default();
    if services.is_empty() {
        // Where the service is only in the flags, what lacks must be given by flag.
        services.push(RawService { name: Some(DEFAULT_SERVICE.to_owned()), ..RawService::default() });
        sources.set_by_flag(FieldPath::service(0).key("vip"), "--vip");
        sources.set_by_flag(FieldPath::service(0).key("backends"), "--backend");
    }
    let count = services.len();
    let [service] = services.as_mut_slice() else {
        let problem = Problem::WhichService { services: count };
        return vec![ConfigError { path: flag.to_owned(), position: None, problem }];
    };
    let mut setter = Setter { base: FieldPath::service(0), sources };
    apply_service(overrides, service, &mut setter);
    setter.base = setter.base.key("health");
    apply_health(overrides, &mut service.health, &mut setter);
    Vec::new()
}

/// Sets fields of one mapping.
struct Setter<'a> {
    base: FieldPath,
    sources: &'a mut Sources,
}

impl Setter<'_> {
    fn set<T: Clone>(&mut self, slot: &mut Option<T>, value: &Option<T>, key: &str, flag: &str) {
        if let Some(value) = value {
            *slot = Some(value.clone());
            self.sources.set_by_flag(self.base.key(key), flag);
        }
    }
}

fn apply_globals(o: &Overrides, raw: &mut RawConfig, sources: &mut Sources) {
    let mut root = Setter { base: FieldPath::root(), sources };
    let dataplane = o.dataplane.as_deref().map(one_or_many);
    root.set(&mut raw.dataplane, &dataplane, "dataplane", "--dataplane");
    root.set(&mut raw.rescue, &o.rescue, "rescue", "--rescue");
    root.set(&mut raw.scope, &o.scope, "scope", "--scope");
    root.set(&mut raw.cgroup, &o.cgroup, "cgroup", "--cgroup");
    root.set(&mut raw.bpffs, &o.bpffs, "bpffs", "--bpffs");
    root.set(&mut raw.state_dir, &o.state_dir, "stateDir", "--state-dir");
    let mut hosts = Setter { base: FieldPath::root().key("hosts"), sources };
    let raw_hosts = raw.hosts.get_or_insert_default();
    hosts.set(&mut raw_hosts.path, &o.hosts_path, "path", "--hosts-path");
    hosts.set(&mut raw_hosts.manage, &o.hosts_manage, "manage", "--hosts-manage");
    let mut admin = Setter { base: FieldPath::root().key("admin"), sources };
    admin.set(&mut raw.admin.get_or_insert_default().socket, &o.admin_socket, "socket", "--admin-socket");
    let mut metrics = Setter { base: FieldPath::root().key("metrics"), sources };
    let listen = &mut raw.metrics.get_or_insert_default().listen;
    metrics.set(listen, &o.metrics_listen, "listen", "--metrics-listen");
}

/// `socket`, or `socket,packet`.
fn one_or_many(text: &str) -> OneOrMany {
    if !text.contains(',') {
        return OneOrMany::One(text.to_owned());
    }
    OneOrMany::Many(text.split(',').map(|word| word.trim().to_owned()).collect())
}

fn apply_service(o: &Overrides, raw: &mut RawService, service: &mut Setter<'_>) {
    service.set(&mut raw.vip, &o.vip, "vip", "--vip");
    service.set(&mut raw.hostname, &o.hostname, "hostname", "--hostname");
    service.set(&mut raw.policy, &o.policy, "policy", "--policy");
    service.set(&mut raw.prefer, &o.prefer, "prefer", "--prefer");
    service.set(&mut raw.dead_after, &o.dead_after, "deadAfter", "--dead-after");
    service.set(&mut raw.on_down, &o.on_down, "onDown", "--on-down");
    service.set(&mut raw.on_all_down, &o.on_all_down, "onAllDown", "--on-all-down");
    if !o.backends.is_empty() {
        raw.backends = Some(o.backends.iter().cloned().map(RawBackend::Address).collect());
        let path = service.base.key("backends");
        for index in 0..o.backends.len() {
            service.sources.set_by_flag(path.index(index), format!("--backend[{index}]"));
        }
        service.sources.set_by_flag(path, "--backend");
    }
}

fn apply_health(o: &Overrides, raw: &mut Option<RawHealth>, health: &mut Setter<'_>) {
    let raw = raw.get_or_insert_default();
    health.set(&mut raw.kind, &o.health_type, "type", "--health-type");
    health.set(&mut raw.path, &o.health_path, "path", "--health-path");
    health.set(&mut raw.ca, &o.ca, "ca", "--ca");
    health.set(&mut raw.server_name, &o.server_name, "serverName", "--server-name");
    health.set(&mut raw.interval, &o.interval, "interval", "--interval");
    health.set(&mut raw.timeout, &o.timeout, "timeout", "--timeout");
    health.set(&mut raw.heartbeat, &o.heartbeat, "heartbeat", "--heartbeat");
    let number = |n: u32| Number(n.into());
    health.set(&mut raw.fall, &o.fall.map(number), "fall", "--fall");
    health.set(&mut raw.rise, &o.rise.map(number), "rise", "--rise");
    let expect = o.health_expect.iter().map(|code| Number((*code).into())).collect();
    let expect = (!o.health_expect.is_empty()).then_some(expect);
    health.set(&mut raw.expect, &expect, "expect", "--health-expect");
    let headers = (!o.health_headers.is_empty()).then(|| o.health_headers.clone());
    health.set(&mut raw.method, &o.health_method, "method", "--health-req-method");
    health.set(&mut raw.headers, &headers, "headers", "--health-req-headers");
    health.set(&mut raw.body, &o.health_body, "body", "--health-req-body");
}

/// The flag to name when it is not clear which service is meant; `None`: no flag describes a service.
fn first_service_flag(o: &Overrides) -> Option<&'static str> {
    let given = [
        ("--vip", o.vip.is_some()),
        ("--backend", !o.backends.is_empty()),
        ("--hostname", o.hostname.is_some()),
        ("--policy", o.policy.is_some()),
        ("--prefer", o.prefer.is_some()),
        ("--health-type", o.health_type.is_some()),
        ("--health-path", o.health_path.is_some()),
        ("--health-expect", !o.health_expect.is_empty()),
        ("--health-req-method", o.health_method.is_some()),
        ("--health-req-headers", !o.health_headers.is_empty()),
        ("--health-req-body", o.health_body.is_some()),
        ("--ca", o.ca.is_some()),
        ("--server-name", o.server_name.is_some()),
        ("--interval", o.interval.is_some()),
        ("--timeout", o.timeout.is_some()),
        ("--fall", o.fall.is_some()),
        ("--rise", o.rise.is_some()),
        ("--heartbeat", o.heartbeat.is_some()),
        ("--dead-after", o.dead_after.is_some()),
        ("--on-down", o.on_down.is_some()),
        ("--on-all-down", o.on_all_down.is_some()),
    ];
    given.into_iter().find_map(|(flag, given)| given.then_some(flag))
}
