//! Programs that accept each connection and open another one to a master.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context;
use lb_tests::Lab;

use super::{Running, Scheme, ready};

/// Where a proxy listens: on the node itself, as kubespray's does.
const PORT: u16 = 8443;
/// The configuration in kubernetes/kubeadm, docs/ha-considerations.md, without the syslog of a host.
pub(super) const HAPROXY_KUBEADM: &str = include_str!("haproxy-kubeadm.cfg");
/// What an operator gets who wants failures found as soon as HAProxy can.
pub(super) const HAPROXY_TUNED: &str = include_str!("haproxy-tuned.cfg");
/// kubespray's nginx-proxy, without the listener for its own liveness probe.
pub(super) const NGINX: &str = include_str!("nginx.conf");

/// What becomes of HAProxy's checks where the masters speak no TLS.
const PLAIN: [(&str, &str); 2] =
    [("http-check connect ssl", "http-check connect"), ("check check-ssl verify none", "check")];

/// HAProxy with this configuration.
pub(super) fn haproxy(lab: &Lab, template: &str, scheme: Scheme) -> anyhow::Result<Running> {
    let servers = lines(lab, |index, address| format!("    server m{index} {address}"));
    let template = match scheme {
        Scheme::Tls => template.to_owned(),
        Scheme::Plain => {
            PLAIN.iter().fold(template.to_owned(), |text, (tls, plain)| text.replace(tls, plain))
        }
    };
    let text = filled(&template, &servers);
    let config = lab.dir().join("haproxy.cfg");
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    // In the foreground, so that what is measured is one process.
    start(lab, "haproxy", &["-db", "-f", &config.to_string_lossy()])
}

/// nginx with kubespray's configuration.
pub(super) fn nginx(lab: &Lab) -> anyhow::Result<Running> {
    let servers = lines(lab, |_, address| format!("    server {address};"));
    let config = lab.dir().join("nginx.conf");
    fs::write(&config, filled(NGINX, &servers)).with_context(|| format!("write {}", config.display()))?;
    let prefix = lab.dir().to_string_lossy();
    start(lab, "nginx", &["-p", &prefix, "-e", "stderr", "-c", &config.to_string_lossy()])
}

fn start(lab: &Lab, program: &str, arguments: &[&str]) -> anyhow::Result<Running> {
    let mut running = Running::new(lab, vec![SocketAddr::from(([127, 0, 0, 1], PORT))]);
    ready::listens(running.start_proxy(program, arguments)?, PORT)?;
    Ok(running)
}

/// A line for each master, numbered from 1.
fn lines(lab: &Lab, line: impl Fn(usize, SocketAddr) -> String) -> String {
    let lines = lab.masters().iter().enumerate().map(|(index, master)| line(index + 1, master.address()));
    lines.collect::<Vec<_>>().join("\n")
}

fn filled(template: &str, servers: &str) -> String {
    template.replace("@SERVERS@", servers).replace("@PORT@", &PORT.to_string())
}
