use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use super::{FieldPath, Problem, Report, paths, request, scalar};
use crate::{
    config::raw::RawHealth,
    model::Hostname,
    probe::{Ca, CheckKind, HealthCheck, ServerName, TlsCheck},
};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_FALL: u32 = 3;
const DEFAULT_RISE: u32 = 2;
const DEFAULT_HEARTBEAT: Duration = Duration::from_millis(500);
const DEFAULT_DEAD_AFTER: Duration = Duration::from_secs(4);

/// The range of `fall` and `rise`: with the shortest sensible interval, the most is still minutes.
const IN_A_ROW: (u32, u32) = (1, 1000);

/// What is asked, as the file names it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Https,
    Http,
    Tcp,
}

impl Kind {
    const ALL: &[Self] = &[Self::Https, Self::Http, Self::Tcp];

    fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// Reads `health:` and `deadAfter:` of the service at `service`.
pub(super) fn check(
    raw: &RawHealth,
    dead_after: &Option<String>,
    service: &FieldPath,
    report: &mut Report<'_>,
) -> Option<HealthCheck> {
    let path = &service.key("health");
    let kind = check_kind(raw, path, report);
    let or_default = |raw: &Option<String>, default, path: &FieldPath, report: &mut Report<'_>| match raw {
        Some(text) => scalar::duration(text, path, report),
        None => Some(default),
    };
    let interval = or_default(&raw.interval, DEFAULT_INTERVAL, &path.key("interval"), report);
    let timeout = or_default(&raw.timeout, DEFAULT_TIMEOUT, &path.key("timeout"), report);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
    {
        let written = if raw.timeout.is_some() { "timeout" } else { "interval" };
        report.add(&path.key(written), Problem::TimeoutAboveInterval { timeout, interval });
    }
    let fall = scalar::number(raw.fall, IN_A_ROW, DEFAULT_FALL, &path.key("fall"), report);
    let rise = scalar::number(raw.rise, IN_A_ROW, DEFAULT_RISE, &path.key("rise"), report);
    let heartbeat = match &raw.heartbeat {
        Some(text) => scalar::duration_or_off(text, &path.key("heartbeat"), report),
        None => Some(Some(DEFAULT_HEARTBEAT)),
    };
    // Read before anything can return early: its own errors must be found too.
    let written = match dead_after {
        Some(text) => scalar::duration(text, &service.key("deadAfter"), report).map(Some),
        None => Some(None),
    };
    let (interval, timeout, fall) = (interval?, timeout?, fall?);
    let dead_after = written?.unwrap_or_else(|| default_dead_after(interval, timeout, fall));
    if dead_after < timeout {
        report.add(&service.key("deadAfter"), Problem::DeadAfterBelowTimeout { dead_after, timeout });
    }
    Some(HealthCheck {
        kind: kind?,
        interval,
        timeout,
        fall: NonZeroU32::new(fall)?,
        rise: NonZeroU32::new(rise?)?,
        heartbeat: heartbeat?,
        dead_after,
    })
}

/// `deadAfter` where it is not written: 4s, or `fall * interval` where that is shorter, so that who asks for quicker
/// probes gets a quicker verdict, within the `fall * interval + timeout` that the failures take at the most; never
/// less than `timeout`, so that a probe can end first.
fn default_dead_after(interval: Duration, timeout: Duration, fall: u32) -> Duration {
    DEFAULT_DEAD_AFTER.min(interval.saturating_mul(fall)).max(timeout)
}

fn check_kind(raw: &RawHealth, path: &FieldPath, report: &mut Report<'_>) -> Option<CheckKind> {
    let kind = scalar::choice(&raw.kind, Kind::ALL, Kind::as_str, Kind::Https, &path.key("type"), report);
    // With an unknown type the fields are judged as for https, which has them all.
    let known = kind.unwrap_or(Kind::Https);
    let http = [
        ("path", raw.path.is_some()),
        ("expect", raw.expect.is_some()),
        ("method", raw.method.is_some()),
        ("headers", raw.headers.is_some()),
        ("body", raw.body.is_some()),
    ];
    let tls = [("ca", raw.ca.is_some()), ("serverName", raw.server_name.is_some())];
    let foreign: Vec<_> = match known {
        Kind::Https => Vec::new(),
        Kind::Http => tls.into(),
        Kind::Tcp => http.into_iter().chain(tls).collect(),
    };
    let mut fits = true;
    for (key, _) in foreign.into_iter().filter(|(_, written)| *written) {
        report.add(&path.key(key), Problem::NotForType { kind: known.as_str() });
        fits = false;
    }
    if !fits {
        return None;
    }
    let checked = match known {
        Kind::Tcp => CheckKind::Tcp,
        Kind::Http => CheckKind::Http(request::check(raw, path, report)?),
        Kind::Https => {
            let http = request::check(raw, path, report);
            let ca = authority(raw.ca.as_deref(), &path.key("ca"), report);
            let server_name = server_name(raw.server_name.as_deref(), &path.key("serverName"), report);
            CheckKind::Https(http?, TlsCheck { ca: ca?, server_name: server_name? })
        }
    };
    kind.map(|_| checked)
}

fn authority(raw: Option<&str>, path: &FieldPath, report: &mut Report<'_>) -> Option<Ca> {
    match raw {
        None | Some("auto") => Some(Ca::Auto),
        Some("insecure") => Some(Ca::Insecure),
        Some(text) => paths::absolute_or(text, "auto, insecure", path, report).map(Ca::File),
    }
}

fn server_name(raw: Option<&str>, path: &FieldPath, report: &mut Report<'_>) -> Option<ServerName> {
    let Some(text) = raw.filter(|text| *text != "auto") else { return Some(ServerName::Auto) };
    let is_name =
        text.to_ascii_lowercase().parse::<Hostname>().is_ok() && !super::service::ends_in_number(text);
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Some(ServerName::Name(text.to_owned()));
    }
    report.add(path, Problem::ServerName { text: text.to_owned() });
    None
}
