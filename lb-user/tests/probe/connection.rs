use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_core::probe::{CheckKind, Failure, HostSign, Phase, ProbeOutcome};
use lb_user::probe::{ProbeEvent, ProbeRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
    time::{Instant, timeout},
};

use crate::{
    fixture::{Backend, Probed, check, ok, receive, status, target, three_ways},
    pki::{Authority, H2},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Time enough for a loop of probes to make hundreds of connections.
const A_WHILE: Duration = Duration::from_millis(400);

#[track_caller]
fn assert_lost(event: Option<ProbeEvent>, wanted: Failure) {
    match event {
        Some(ProbeEvent::ConnectionLost { why, .. }) => assert_eq!(why, wanted),
        other => panic!("{other:?} instead of a lost connection"),
    }
}

#[tokio::test]
async fn probes_share_one_connection() {
    for (way, backend, mut probed) in three_ways(ok).await {
        for _ in 0..3 {
            probed.expect_ready().await;
        }
        assert_eq!(backend.accepted(), 1, "{way}");
    }
}

#[tokio::test]
async fn the_end_of_an_idle_connection_is_told_within_100_ms() {
    for (way, backend, mut probed) in three_ways(ok).await {
        probed.expect_ready().await;
        drop(backend);
        let started = Instant::now();
        assert_lost(Some(probed.event().await), Failure::Closed(Phase::Idle));
        assert!(started.elapsed() < Duration::from_millis(100), "{way}: {:?}", started.elapsed());
        let outcome = probed.outcome().await;
        assert_eq!(outcome, ProbeOutcome::Failed(Failure::Refused), "{way}");
    }
}

#[tokio::test]
async fn a_reset_of_an_idle_connection_is_told() {
    let notify = Arc::new(Notify::new());
    let reset = Arc::clone(&notify);
    let backend = Backend::start(move |mut stream| {
        let reset = Arc::clone(&reset);
        async move {
            // Only a part of the request: what is unread makes a RST of the close.
            stream.read_exact(&mut [0; 32]).await.unwrap();
            stream.write_all(ANSWER).await.unwrap();
            reset.notified().await;
        }
    })
    .await;
    let mut probed = Probed::http(&backend);
    probed.expect_ready().await;
    notify.notify_one();
    assert_lost(Some(probed.event().await), Failure::Reset(Phase::Idle));
}

/// A server of HTTP/2 that, once told so, either says GOAWAY or stops to read, with its connection held open, until told
/// again.
async fn turning(authority: &Authority, goaway: bool) -> (Backend, Arc<Notify>) {
    let notify = Arc::new(Notify::new());
    let turn = Arc::clone(&notify);
    let acceptor = authority.acceptor("127.0.0.1", H2);
    let backend = Backend::start(move |stream| {
        let (acceptor, turn) = (acceptor.clone(), Arc::clone(&turn));
        async move {
            let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
            let service = hyper::service::service_fn(|request| async move {
                Ok::<_, std::convert::Infallible>(ok(&request))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut serving = pin!(builder.serve_connection(stream, service));
            tokio::select! {
                _ = &mut serving => {}
                () = turn.notified() => {
                    if goaway {
                        serving.as_mut().graceful_shutdown();
                        let _ended = serving.await;
                    } else {
                        turn.notified().await;
                        let _ended = serving.await;
                    }
                }
            }
        }
    })
    .await;
    (backend, notify)
}

#[tokio::test]
async fn a_goaway_is_told_at_once() {
    let authority = Authority::new();
    let (backend, turn) = turning(&authority, true).await;
    let mut probed = Probed::https(&backend, &authority);
    probed.expect_ready().await;
    turn.notify_one();
    assert_lost(probed.event_within(Duration::from_millis(100)).await, Failure::Closed(Phase::Idle));
    probed.expect_ready().await;
    assert_eq!(backend.accepted(), 2);
}

#[tokio::test]
async fn heartbeats_find_a_backend_that_hangs_and_spare_one_that_does_not() {
    let authority = Authority::new();
    let (backend, turn) = turning(&authority, false).await;
    let mut probed = Probed::https_with(&backend, &authority, |target| {
        target.heartbeat = Some(Duration::from_millis(20));
        target.patience = Duration::from_millis(150);
    });
    probed.expect_ready().await;
    // Twice as long as the patience, so that each PING was answered.
    assert_eq!(probed.event_within(A_WHILE).await, None);
    turn.notify_one();
    let started = Instant::now();
    let event = probed.event().await;
    let ProbeEvent::Silent { silence, .. } = event else { unreachable!("{event:?}") };
    assert_eq!(silence.host, HostSign::Acknowledged, "its kernel takes the PING");
    assert!(started.elapsed() >= Duration::from_millis(130), "{:?}", started.elapsed());
    assert!(silence.since.elapsed() >= Duration::from_millis(150), "{:?}", silence.since.elapsed());
    assert_eq!(backend.accepted(), 1, "the connection is kept, and nobody knocks");
}

#[tokio::test]
async fn a_connection_that_stalls_is_kept_and_tells_when_it_is_answered_again() {
    let authority = Authority::new();
    let (backend, turn) = turning(&authority, false).await;
    let mut probed = Probed::https_with(&backend, &authority, |target| {
        target.timeout = Duration::from_millis(200);
        target.heartbeat = Some(Duration::from_millis(20));
        target.patience = Duration::from_millis(100);
    });
    probed.expect_ready().await;
    turn.notify_one();
    let silent = probed.event().await;
    assert!(matches!(silent, ProbeEvent::Silent { .. }), "{silent:?}");
    probed.prober.probe(ProbeRequest { attempt: 99, ..ProbeRequest::default() });
    let outcome = loop {
        if let ProbeEvent::Done { attempt: 99, outcome, .. } = probed.event().await {
            break outcome;
        }
    };
    assert_eq!(outcome, ProbeOutcome::Failed(Failure::Timeout(Phase::Request)));
    turn.notify_one();
    let serving = |event| match event {
        ProbeEvent::Silent { silence, .. } => matches!(silence.host, HostSign::Serving { .. }),
        ProbeEvent::Done { .. } | ProbeEvent::ConnectionLost { .. } => unreachable!("{event:?}"),
    };
    while !serving(probed.event().await) {}
    probed.expect_ready().await;
    assert_eq!(backend.accepted(), 1, "the same connection");
}

#[tokio::test]
async fn a_request_that_finds_its_connection_closed_is_made_again_on_a_fresh_one() {
    let backend = Backend::start(|mut stream| async move {
        receive(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        receive(&mut stream).await;
    })
    .await;
    let mut probed = Probed::http(&backend);
    for connections in 1..=3 {
        probed.expect_ready().await;
        assert_eq!(backend.accepted(), connections);
    }
}

#[tokio::test]
async fn a_timeout_on_a_kept_connection_ends_it() {
    let backend = Backend::start(|mut stream| async move {
        receive(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        std::future::pending().await
    })
    .await;
    let mut target = target(backend.address, CheckKind::Http(check()));
    target.timeout = Duration::from_millis(200);
    let mut probed = Probed::new(target, None);
    probed.expect_ready().await;
    assert_eq!(probed.outcome().await, ProbeOutcome::Failed(Failure::Timeout(Phase::Request)));
    assert_eq!(backend.accepted(), 1);
    probed.expect_ready().await;
    assert_eq!(backend.accepted(), 2);
}

#[tokio::test]
async fn connection_close_is_not_a_lost_connection() {
    let backend = Backend::http(|_| {
        let mut answer = status(200);
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let mut probed = Probed::http(&backend);
    probed.probe_when_lost(A_WHILE).await;
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_unannounced_is_probed_once_more_and_no_oftener() {
    let backend = Backend::start(|mut stream| async move {
        receive(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    })
    .await;
    let mut probed = Probed::http(&backend);
    probed.probe_when_lost(A_WHILE).await;
    assert_eq!(backend.accepted(), 2);
}

#[tokio::test]
async fn a_tcp_server_that_accepts_and_closes_is_probed_once_more_and_no_oftener() {
    let backend = Backend::start(|stream| async move { drop(stream) }).await;
    let mut probed = Probed::tcp(&backend);
    probed.probe_when_lost(A_WHILE).await;
    assert_eq!(backend.accepted(), 2);
}

#[tokio::test]
async fn each_tcp_probe_connects_anew_and_replaces_the_kept_connection() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let backend = Backend::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            // A greeting is no reason to let go.
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let _end = stream.read(&mut [0; 1]).await;
            count.fetch_sub(1, Ordering::Relaxed);
        }
    })
    .await;
    let mut probed = Probed::tcp(&backend);
    for connections in 1..=3 {
        probed.expect_ready().await;
        let settled = async {
            while backend.accepted() != connections || open.load(Ordering::Relaxed) != 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), settled).await.expect("one connection open");
    }
    drop(backend);
    assert_lost(Some(probed.event().await), Failure::Closed(Phase::Idle));
}

/// A server that tells when a connection ended, after an answer or without one.
async fn telling_ends(answering: bool) -> (Backend, mpsc::Receiver<()>, mpsc::Receiver<()>) {
    let (asked, was_asked) = mpsc::channel(4);
    let (ended, has_ended) = mpsc::channel(4);
    let handle = move |mut stream: TcpStream| {
        let (asked, ended) = (asked.clone(), ended.clone());
        async move {
            receive(&mut stream).await;
            if answering {
                stream.write_all(ANSWER).await.unwrap();
            }
            asked.send(()).await.unwrap();
            while receive(&mut stream).await > 0 {}
            ended.send(()).await.unwrap();
        }
    };
    (Backend::start(handle).await, was_asked, has_ended)
}

#[tokio::test]
async fn dropping_the_prober_closes_its_connection_also_amid_a_probe() {
    for answering in [true, false] {
        let (backend, mut asked, mut ended) = telling_ends(answering).await;
        let Probed { prober, mut events, .. } = Probed::http(&backend);
        prober.probe(ProbeRequest { attempt: 1, ..ProbeRequest::default() });
        timeout(Duration::from_secs(5), asked.recv()).await.unwrap().unwrap();
        if answering {
            timeout(Duration::from_secs(5), events.recv()).await.unwrap().unwrap();
        }
        drop(prober);
        timeout(Duration::from_secs(5), ended.recv()).await.expect("a closed connection").unwrap();
        assert_eq!(events.recv().await, None);
    }
}

#[tokio::test]
async fn of_the_requests_amid_a_probe_only_the_last_is_remembered() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let backend = Backend::start(move |mut stream| {
        let held = Arc::clone(&held);
        async move {
            while receive(&mut stream).await > 0 {
                if ASKED.fetch_add(1, Ordering::Relaxed) == 0 {
                    held.notified().await;
                }
                stream.write_all(ANSWER).await.unwrap();
            }
        }
    })
    .await;
    let mut probed = Probed::http(&backend);
    probed.prober.probe(ProbeRequest { attempt: 1, ..ProbeRequest::default() });
    let under_way = async {
        while ASKED.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), under_way).await.unwrap();
    for attempt in 2..=5 {
        probed.prober.probe(ProbeRequest { attempt, ..ProbeRequest::default() });
    }
    release.notify_one();
    let mut done = Vec::new();
    while let Some(ProbeEvent::Done { attempt, .. }) = probed.event_within(A_WHILE).await {
        done.push(attempt);
    }
    assert_eq!(done, [1, 5]);
}
