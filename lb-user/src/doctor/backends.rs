//! The backends themselves: their certificates, and what time it is there.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use http::{Request, header};
use http_body_util::Empty;
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use lb_core::{
    config::ServiceConfig,
    doctor::{AnswerFact, BackendFact, CertificateFact, Code, Facts, Origin},
    model::Hostname,
    probe::CheckKind,
};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::client::TlsStream;

use super::{certificate, gap};
use crate::{os::source_port, probe::tls};

/// The longest that one backend is waited for: a node across a slow link answers in a second.
const DEADLINE: Duration = Duration::from_secs(3);
/// How many are asked at a time.
const AT_ONCE: usize = 64;
/// The most that is held of an answer that has not been taken yet.
const BUFFER_MAX: usize = 16 << 10;
/// Answered by every apiserver, to anybody.
const PATH: &str = "/readyz";

/// How a backend is asked.
#[derive(Clone, Debug)]
enum Way {
    /// Only a connection.
    Tcp,
    /// Over TLS, naming the server so.
    Tls(ServerName<'static>),
}

struct Asked {
    address: SocketAddr,
    answer: anyhow::Result<AnswerFact>,
    certificate: Option<anyhow::Result<CertificateFact>>,
}

pub(super) async fn look(facts: &mut Facts) {
    let ways = ways(facts);
    let mut results = BTreeMap::new();
    let all: Vec<_> = ways.into_iter().collect();
    for some in all.chunks(AT_ONCE) {
        let mut asking: JoinSet<Asked> =
            some.iter().cloned().map(|(address, way)| ask(address, way)).collect();
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok(asked) => _ = results.insert(asked.address, asked),
                Err(error) => gap(facts, Code::Backend, "ask a backend", error),
            }
        }
    }
    for (address, Asked { answer, certificate, .. }) in results {
        let answer = answer.map_err(|error| format!("{error:#}"));
        facts.backends.push(BackendFact { address, answer });
        match certificate {
            Some(Ok(certificate)) => facts.certificates.push(certificate),
            Some(Err(error)) => {
                gap(facts, Code::CertNames, format!("read the certificate of {address}"), error)
            }
            None => {}
        }
    }
}

/// Each address once, however many services it is in.
fn ways(facts: &Facts) -> BTreeMap<SocketAddr, Way> {
    let mut ways = BTreeMap::new();
    for service in facts.config().into_iter().flat_map(|config| &config.services) {
        for address in facts.backends_of(service) {
            let way = way(service, address);
            ways.entry(address).and_modify(|held| prefer_tls(held, &way)).or_insert(way);
        }
    }
    ways
}

fn prefer_tls(held: &mut Way, way: &Way) {
    if let (Way::Tcp, Way::Tls(_)) = (&*held, way) {
        held.clone_from(way);
    }
}

fn way(service: &ServiceConfig, address: SocketAddr) -> Way {
    match service.health.kind {
        CheckKind::Https(..) => Way::Tls(server_name(service.hostname.as_ref(), address)),
        CheckKind::Tcp | CheckKind::Http(_) => Way::Tcp,
    }
}

fn server_name(hostname: Option<&Hostname>, address: SocketAddr) -> ServerName<'static> {
    let named = hostname.and_then(|name| ServerName::try_from(name.to_string()).ok());
    named.unwrap_or_else(|| ServerName::from(address.ip()))
}

async fn ask(address: SocketAddr, way: Way) -> Asked {
    let mut certificate = None;
    let answer = match timeout(DEADLINE, converse(address, way, &mut certificate)).await {
        Ok(answer) => answer,
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", DEADLINE.as_secs())),
    };
    Asked { address, answer, certificate }
}

async fn converse(
    address: SocketAddr,
    way: Way,
    certificate: &mut Option<anyhow::Result<CertificateFact>>,
) -> anyhow::Result<AnswerFact> {
    let stream = source_port::connect(address).await.context("connect")?;
    let name = match way {
        Way::Tcp => return Ok(AnswerFact::default()),
        Way::Tls(name) => name,
    };
    let connector = tls::trusting_anybody()?.requests();
    let stream = connector.connect(name, stream).await.context("shake hands over TLS")?;
    let first = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    *certificate = first.map(|der| certificate::parse(der, Origin::Backend(address)));
    Ok(AnswerFact { clocks: clocks(address, stream).await? })
}

/// This node's clock and the backend's, when it answers a request. What it answers does not matter.
async fn clocks(
    address: SocketAddr,
    stream: TlsStream<TcpStream>,
) -> anyhow::Result<Option<(Timestamp, Timestamp)>> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .context("speak HTTP")?;
    let request = Request::get(PATH)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, concat!("lbctl/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    let response = tokio::select! {
        response = sender.send_request(request) => response.context("ask for /readyz")?,
        ended = connection => match ended {
            Ok(()) => bail!("it closed the connection instead of an answer"),
            Err(error) => return Err(error).context("ask for /readyz"),
        },
    };
    let ours = Timestamp::now();
    let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
    Ok(date.and_then(http_date).map(|theirs| (ours, theirs)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110, 5.6.7.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use lb_core::{
        config::{Overrides, load},
        doctor::ConfigFact,
    };

    use super::*;

    #[test]
    fn a_date_of_http_is_a_time() {
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time, "1994-11-06T08:49:37Z".parse().unwrap());
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn a_backend_is_asked_as_its_service_checks_it() {
        let config = |kind: &str| {
            let overrides = Overrides {
                vip: Some("10.103.97.2:6443".to_owned()),
                backends: vec!["192.168.0.2:6443".to_owned()],
                hostname: Some("apiserver.cluster.local".to_owned()),
                health_type: Some(kind.to_owned()),
                ..Overrides::default()
            };
            ways(&Facts {
                config: ConfigFact::Good(Box::new(load(None, &overrides).unwrap())),
                ..Facts::default()
            })
            .into_values()
            .next()
            .unwrap()
        };
        assert!(matches!(config("tcp"), Way::Tcp));
        let Way::Tls(name) = config("https") else { panic!("https") };
        assert_eq!(name.to_str(), "apiserver.cluster.local");
    }
}
