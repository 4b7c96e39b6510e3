#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use super::*;
use crate::config::{self, Config, Overrides};

fn addresses(texts: &[&str]) -> BTreeSet<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn config() -> Config {
    let text = "services: [{name: apiserver, vip: '10.103.97.2:6443', backends: ['192.168.0.2:6443'], \
                discovery: {kubernetes: {}}}]";
    config::load(Some(("test", text)), &Overrides::default()).unwrap()
}

#[test]
fn endpoints_give_the_addresses_with_the_https_port() {
    let json = br#"{"kind":"Endpoints","subsets":[
        {"addresses":[{"ip":"192.168.0.2"},{"ip":"192.168.0.3"},{"ip":"nonsense"}],
         "notReadyAddresses":[{"ip":"192.168.0.9"}],
         "ports":[{"name":"metrics","port":9000},{"name":"https","port":6443,"protocol":"TCP"}]},
        {"addresses":[{"ip":"192.168.0.4"}],"ports":[{"port":6444}]},
        {"addresses":[{"ip":"192.168.0.5"}],"ports":[{"name":"metrics","port":9000}]},
        {"addresses":[{"ip":"192.168.0.6"}],"ports":[{"name":"https","port":0}]}]}"#;
    let wanted = ["192.168.0.2:6443", "192.168.0.3:6443", "192.168.0.4:6444"];
    assert_eq!(from_endpoints(json).unwrap(), addresses(&wanted));
}

#[test]
fn an_answer_that_is_no_endpoints_is_an_error_and_an_empty_one_is_not() {
    for bad in [&b"<html>"[..], b"7", br#"{"subsets":[{"addresses":[{"ip":7}]}]}"#, b""] {
        assert!(from_endpoints(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
    assert_eq!(from_endpoints(b"{}").unwrap(), BTreeSet::new());
}

fn slice(name: &str, version: &str, ip: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"addressType":"IPv4",
           "endpoints":[{{"addresses":["{ip}"],"conditions":{{"ready":true}}}}],
           "ports":[{{"name":"https","port":6443}}]}}"#
    )
}

fn line(kind: &str, object: &str) -> Vec<u8> {
    format!(r#"{{"type":"{kind}","object":{object}}}"#).into_bytes()
}

#[test]
fn a_watch_keeps_the_list_of_slices_as_it_is() {
    let list =
        format!(r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#, slice("a", "3", "192.168.0.2"));
    let mut slices = Slices::from_list(list.as_bytes()).unwrap();
    assert_eq!((slices.version(), slices.addresses()), ("5", addresses(&["192.168.0.2:6443"])));
    let mut take = |kind, object: &str| (slices.take(&line(kind, object)).unwrap(), slices.addresses());
    let both = addresses(&["192.168.0.2:6443", "192.168.0.3:6443"]);
    assert_eq!(take("ADDED", &slice("b", "6", "192.168.0.3")), (News::Changed, both.clone()));
    assert_eq!(take("BOOKMARK", r#"{"metadata":{"resourceVersion":"9"}}"#), (News::Bookmark, both));
    assert_eq!(
        take("DELETED", &slice("a", "10", "192.168.0.2")),
        (News::Changed, addresses(&["192.168.0.3:6443"]))
    );
    assert_eq!(
        take("MODIFIED", r#"{"metadata":{"name":"b"},"endpoints":null,"ports":null}"#),
        (News::Changed, BTreeSet::new())
    );
    assert_eq!(
        take("ERROR", r#"{"kind":"Status","code":410,"message":"too old"}"#).0,
        News::Over("410 too old".to_owned())
    );
    assert_eq!(slices.version(), "10");
}

#[test]
fn what_is_no_line_of_a_watch_is_an_error() {
    let mut slices = Slices::default();
    for bad in [&b""[..], b"{}", b"\xff", br#"{"type":"ADDED","object":7}"#] {
        assert!(slices.take(bad).is_err());
    }
    assert_eq!(slices, Slices::default());
}

#[test]
fn a_flood_of_slices_is_bounded() {
    let mut slices = Slices::default();
    for n in 0..1_000 {
        slices
            .take(&line("ADDED", &slice(&format!("s{n}"), "1", &format!("10.0.{}.{}", n / 250, n % 250))))
            .unwrap();
    }
    assert_eq!(slices.addresses().len(), 64);
}

#[test]
fn what_cannot_be_a_backend_is_left_out_of_a_list() {
    let config = config();
    let vips = addresses(&["10.103.97.2:6443"]);
    let judged = |listed: &[&str]| judge(&config.services[0], &vips, &BTreeSet::new(), &addresses(listed));
    let mixed =
        judged(&["192.168.0.3:6443", "[fd00::3]:6443", "10.103.97.2:6443", "127.0.0.1:6443", "0.0.0.0:1"]);
    assert_eq!(mixed.addresses, addresses(&["192.168.0.3:6443"]));
    assert!(mixed.ignored.unwrap().contains("4 of 5"));
    let empty = judged(&[]);
    assert!(empty.addresses.is_empty() && empty.ignored.unwrap().contains("empty"));
    assert_eq!(judged(&["192.168.0.2:6443"]).ignored, None);
}

#[test]
fn two_hundred_addresses_are_cut_to_what_fits_and_the_known_ones_stay() {
    let config = config();
    let listed: BTreeSet<_> = (0..200).map(|n| SocketAddr::from(([10, 1, 0, n], 6443))).collect();
    let known = addresses(&["10.1.0.199:6443"]);
    let judged = judge(&config.services[0], &BTreeSet::new(), &known, &listed);
    assert_eq!(judged.addresses.len(), 63, "one place is the config's");
    assert!(judged.addresses.is_superset(&known));
    assert!(judged.ignored.unwrap().contains("137"));
}

fn kubeconfig(cluster: &str, user: &str) -> Result<Kubeconfig, KubeconfigError> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
    );
    Kubeconfig::parse(&text, Path::new("/etc/kubernetes"))
}

#[test]
fn a_kubelets_kubeconfig_names_files_and_the_name_in_the_certificates() {
    let pem = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    let found = kubeconfig(
        "{server: 'https://apiserver.cluster.local:6443', certificate-authority-data: QQ==}",
        &format!("{{client-certificate: {pem}, client-key: {pem}}}"),
    )
    .unwrap();
    let file = Material::File(pem.into());
    assert_eq!(found.server_name.as_deref(), Some("apiserver.cluster.local"));
    assert_eq!(found.authority, Some(Material::Encoded("QQ==".to_owned())));
    assert_eq!(found.credentials, Credentials::Certificate { certificate: file.clone(), key: file });
}

#[test]
fn the_name_in_the_certificates_is_never_another_masters_address() {
    for (server, name) in [
        ("https://192.168.0.2:6443", None),
        ("https://[fd00::2]:6443", None),
        ("https://a.b", Some("a.b")),
        ("https://a.b:1/prefix", Some("a.b")),
    ] {
        let found = kubeconfig(&format!("{{server: '{server}'}}"), "{token: t}").unwrap();
        assert_eq!(found.server_name.as_deref(), name, "{server}");
    }
    let named = kubeconfig("{server: 'https://10.0.0.1', tls-server-name: kubernetes}", "{}").unwrap();
    assert_eq!(named.server_name.as_deref(), Some("kubernetes"));
    assert_eq!(named.credentials, Credentials::Anonymous);
}

#[test]
fn a_relative_file_is_beside_the_kubeconfig() {
    let found =
        kubeconfig("{server: 'https://a', certificate-authority: pki/ca.crt}", "{tokenFile: t}").unwrap();
    assert_eq!(found.authority, Some(Material::File("/etc/kubernetes/pki/ca.crt".into())));
    assert_eq!(found.credentials, Credentials::Token(Material::File("/etc/kubernetes/t".into())));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_says_why() {
    let told = |result: Result<Kubeconfig, KubeconfigError>| result.unwrap_err().to_string();
    assert!(told(kubeconfig("{server: 'https://a'}", "{exec: {command: x}}")).contains("exec"));
    assert!(told(Kubeconfig::parse("", Path::new("/"))).contains("context"));
    assert!(told(Kubeconfig::parse("{", Path::new("/"))).contains("as a kubeconfig"));
    assert!(told(Kubeconfig::parse("current-context: nope", Path::new("/"))).contains("\"nope\""));
}
