use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lb_core::probe::{Ca, CheckKind, Failure, Phase, ProbeOutcome};
use rcgen::CertificateParams;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    fixture::{Backend, Probed, check, endless, ok, receive, status, target, three_ways},
    pki::{Authority, BOTH, trust},
};

fn failed(failure: Failure) -> ProbeOutcome {
    ProbeOutcome::Failed(failure)
}

#[tokio::test]
async fn an_expected_status_is_ready_in_each_protocol() {
    for (way, _backend, mut probed) in three_ways(|_| status(401)).await {
        let outcome = probed.outcome().await;
        let ProbeOutcome::Ready { latency } = outcome else { panic!("{way}: {outcome:?}") };
        assert!(latency > Duration::ZERO && latency < Duration::from_secs(2), "{way}: {latency:?}");
    }
}

#[tokio::test]
async fn another_status_is_not_ready_and_redirects_are_not_followed() {
    for (way, _backend, mut probed) in three_ways(|_| status(500)).await {
        let outcome = probed.outcome().await;
        assert!(matches!(outcome, ProbeOutcome::NotReady { status: 500, .. }), "{way}: {outcome:?}");
    }
    let backend = Backend::http(|_| {
        let mut answer = status(302);
        answer.headers_mut().insert("location", "/elsewhere".parse().unwrap());
        answer
    })
    .await;
    let outcome = Probed::http(&backend).outcome().await;
    assert!(matches!(outcome, ProbeOutcome::NotReady { status: 302, .. }), "{outcome:?}");
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let ways = three_ways(|request| {
        let header = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let authority = request.uri().authority().map_or(header("host"), |name| name.as_str());
        let (agent, accept) = (header("user-agent"), header("accept"));
        let path = request.uri().path();
        SEEN.lock().unwrap().push(format!("{} {path} {authority} {agent} {accept}", request.method()));
        status(200)
    });
    for (way, backend, mut probed) in ways.await {
        probed.expect_ready().await;
        let wanted = format!("GET /readyz {} lbctl/{} */*", backend.address, env!("CARGO_PKG_VERSION"));
        assert_eq!(SEEN.lock().unwrap().pop().unwrap(), wanted, "{way}");
    }
}

#[tokio::test]
async fn a_closed_port_is_refused_by_every_kind_of_check() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (check_tls, settings) = trust(Ca::Insecure);
    for kind in [CheckKind::Tcp, CheckKind::Http(check()), CheckKind::Https(check(), check_tls)] {
        let outcome = Probed::new(target(address, kind), Some(settings.clone())).outcome().await;
        assert_eq!(outcome, failed(Failure::Refused));
    }
}

#[tokio::test]
async fn closing_without_an_answer_is_told_with_the_phase() {
    async fn close(mut stream: TcpStream) {
        receive(&mut stream).await;
    }
    let backend = Backend::start(close).await;
    assert_eq!(Probed::http(&backend).outcome().await, failed(Failure::Closed(Phase::Request)));
    let authority = Authority::new();
    let outcome = Probed::https(&backend, &authority).outcome().await;
    assert_eq!(outcome, failed(Failure::Closed(Phase::Handshake)));
}

#[tokio::test]
async fn a_reset_without_an_answer_is_told_with_the_phase() {
    // Closing a socket with unread data in it sends a RST.
    let backend = Backend::start(|stream| async move { stream.readable().await.unwrap() }).await;
    assert_eq!(Probed::http(&backend).outcome().await, failed(Failure::Reset(Phase::Request)));
    let authority = Authority::new();
    let outcome = Probed::https(&backend, &authority).outcome().await;
    assert_eq!(outcome, failed(Failure::Reset(Phase::Handshake)));
}

#[tokio::test]
async fn garbage_is_not_http_and_not_tls() {
    async fn garbage(mut stream: TcpStream) {
        receive(&mut stream).await;
        let _sent = stream.write_all(b"\x00\x01 SSH-2.0-what? \r\n\r\n").await;
    }
    let backend = Backend::start(garbage).await;
    let outcome = Probed::http(&backend).outcome().await;
    assert!(matches!(outcome, ProbeOutcome::Failed(Failure::Protocol(_))), "{outcome:?}");
    let outcome = Probed::https(&backend, &Authority::new()).outcome().await;
    assert!(matches!(outcome, ProbeOutcome::Failed(Failure::Tls(_))), "{outcome:?}");
}

#[tokio::test]
async fn garbage_inside_of_tls_is_not_http() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", BOTH);
    let backend = Backend::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _request = stream.read(&mut [0; 4096]).await;
            let _sent = stream.write_all(b"SSH-2.0-what?\r\n\r\n").await;
            std::future::pending().await
        }
    })
    .await;
    let outcome = Probed::https(&backend, &authority).outcome().await;
    assert!(matches!(outcome, ProbeOutcome::Failed(Failure::Protocol(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_endless_body_is_ready_and_not_read_on() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    for (way, _backend, mut probed) in three_ways(|_| endless(&TAKEN)).await {
        TAKEN.store(0, Ordering::Relaxed);
        probed.expect_ready().await;
        probed.expect_ready().await;
        // What was read, and what the sockets' buffers hold; without a bound it would be gigabytes.
        let taken = TAKEN.load(Ordering::Relaxed);
        assert!((1..32 << 20).contains(&taken), "{way}: {taken}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_http() {
    async fn endless_head(mut stream: TcpStream) {
        receive(&mut stream).await;
        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").await.is_ok() {}
    }
    let backend = Backend::start(endless_head).await;
    let outcome = Probed::http(&backend).outcome().await;
    assert!(matches!(outcome, ProbeOutcome::Failed(Failure::Protocol(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_bad_certificate_is_told_in_a_few_words() {
    let authority = Authority::new();
    let mut expired = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    for (acceptor, text) in [
        (Authority::named("another").acceptor("127.0.0.1", BOTH), "unknown issuer"),
        (Authority::new().acceptor("127.0.0.1", BOTH), "unknown issuer (bad signature)"),
        (authority.acceptor("10.9.8.7", BOTH), "not valid for name 127.0.0.1"),
        (authority.acceptor_with(expired, BOTH), "expired"),
    ] {
        let backend = Backend::https(acceptor, ok).await;
        let outcome = Probed::https(&backend, &authority).outcome().await;
        assert_eq!(outcome, failed(Failure::Certificate(text.to_owned())));
    }
}

#[tokio::test]
async fn the_hostname_is_the_name_on_the_certificate() {
    let authority = Authority::new();
    let backend = Backend::https(authority.acceptor("api.local", BOTH), ok).await;
    let named = Probed::https_with(&backend, &authority, |target| {
        target.hostname = Some("api.local".parse().unwrap());
    });
    { named }.expect_ready().await;
}

#[tokio::test]
async fn insecure_takes_any_certificate() {
    let backend = Backend::https(Authority::new().acceptor("elsewhere.example", BOTH), ok).await;
    let (check_tls, settings) = trust(Ca::Insecure);
    let target = target(backend.address, CheckKind::Https(check(), check_tls));
    Probed::new(target, Some(settings)).expect_ready().await;
}

#[tokio::test]
async fn silence_is_a_timeout_of_the_phase_that_it_came_in() {
    async fn silent(stream: TcpStream) {
        std::future::pending::<()>().await;
        drop(stream);
    }
    let backend = Backend::start(silent).await;
    let (check_tls, settings) = trust(Ca::Insecure);
    for (kind, phase) in
        [(CheckKind::Https(check(), check_tls), Phase::Handshake), (CheckKind::Http(check()), Phase::Request)]
    {
        let mut target = target(backend.address, kind);
        target.timeout = Duration::from_millis(100);
        let started = tokio::time::Instant::now();
        let outcome = Probed::new(target, Some(settings.clone())).outcome().await;
        assert_eq!(outcome, failed(Failure::Timeout(phase)));
        assert!(started.elapsed() >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn a_dropped_syn_is_a_timeout_of_the_connect() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // With a backlog of 0 one connection may wait to be accepted; the SYN of the next is dropped.
    let _waiting = TcpStream::connect(address).await.unwrap();
    let mut target = target(address, CheckKind::Tcp);
    target.timeout = Duration::from_millis(100);
    assert_eq!(Probed::new(target, None).outcome().await, failed(Failure::Timeout(Phase::Connect)));
}

#[tokio::test]
async fn a_check_that_cannot_be_made_is_inconclusive() {
    let (check_tls, _) = trust(Ca::Insecure);
    let backend = Backend::http(ok).await;
    let outcome =
        Probed::new(target(backend.address, CheckKind::Https(check(), check_tls)), None).outcome().await;
    assert!(matches!(outcome, ProbeOutcome::Inconclusive { .. }), "{outcome:?}");
    assert_eq!(backend.accepted(), 0);
}
