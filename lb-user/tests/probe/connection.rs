use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use lb_core::probe::{CheckKind, Failure, HostSign, Phase, ProbeOutcome};
use lb_user::probe::{ProbeEvent, ProbeRequest};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    fixture::{Backend, Probed, check, ok, receive, serve1, serve2, status, target, three_ways},
    pki::{Authority, BOTH},
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

/// A server as kube-apiserver is one: it answers by HTTP/1.1, and by HTTP/2 answers PINGs, but no requests of strangers. It
/// hangs on request, with its connections held open.
async fn apiserver(authority: &Authority) -> (Backend, watch::Sender<Mood>) {
    let (mood, moods) = watch::channel(Mood::Well);
    let acceptor = authority.acceptor("127.0.0.1", BOTH);
    let backend = Backend::start(move |stream| {
        let (acceptor, mut moods) = (acceptor.clone(), moods.clone());
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let pings_only = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let serving = async move {
                if pings_only {
                    serve2(stream, |request| unreachable!("{request:?}")).await;
                } else {
                    serve1(stream, ok).await;
                }
            };
            let mut serving = pin!(serving);
            let concerns =
                move |mood: &Mood| *mood == Mood::Hung || *mood == Mood::TiredOfPings && pings_only;
            loop {
                tokio::select! {
                    biased;
                    _ = moods.wait_for(concerns) => {}
                    () = &mut serving => return,
                }
                if *moods.borrow() == Mood::TiredOfPings {
                    return;
                }
                let _well = moods.wait_for(|mood| *mood == Mood::Well).await;
            }
        }
    })
    .await;
    (backend, mood)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Hung,
    /// Ends connections for PINGs, as one that were idle for long.
    TiredOfPings,
}

/// Waits until so many connections have been made.
async fn await_accepted(backend: &Backend, count: usize) {
    let made = async {
        while backend.accepted() < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), made).await.unwrap();
    assert_eq!(backend.accepted(), count);
}

#[tokio::test]
async fn probes_go_over_one_connection_and_pings_over_another() {
    let authority = Authority::new();
    let (backend, mood) = apiserver(&authority).await;
    let mut probed = Probed::https_with(&backend, &authority, |target| {
        target.heartbeat = Some(Duration::from_millis(20));
    });
    probed.expect_ready().await;
    await_accepted(&backend, 2).await;
    for _ in 0..3 {
        probed.expect_ready().await;
    }
    // The end of the one for PINGs is no news, and the next one is not made at once.
    mood.send_replace(Mood::TiredOfPings);
    assert_eq!(probed.event_within(A_WHILE).await, None);
    mood.send_replace(Mood::Well);
    probed.expect_ready().await;
    assert_eq!(backend.accepted(), 2);
}

/// Counts what is read: each PING comes by itself.
struct Counted<S>(S, Arc<AtomicUsize>);

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn one_ping_follows_on_the_other_after_no_more_than_a_heartbeat() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", BOTH);
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let backend = Backend::start(move |stream| {
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                serve2(Counted(stream, count), ok).await;
            } else {
                serve1(stream, ok).await;
            }
        }
    })
    .await;
    let mut probed = Probed::https_with(&backend, &authority, |target| {
        target.heartbeat = Some(Duration::from_millis(100));
        target.patience = Duration::from_millis(80);
    });
    probed.expect_ready().await;
    await_accepted(&backend, 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = read.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pings = read.load(Ordering::Relaxed) - before;
    // Between 20 and 23; a busy machine loses some.
    assert!((17..=24).contains(&pings), "{pings} in two seconds");
}

#[tokio::test]
async fn heartbeats_find_a_backend_that_hangs_and_spare_one_that_does_not() {
    let authority = Authority::new();
    let (backend, mood) = apiserver(&authority).await;
    let mut probed = Probed::https_with(&backend, &authority, |target| {
        target.heartbeat = Some(Duration::from_millis(20));
        target.patience = Duration::from_millis(150);
    });
    probed.expect_ready().await;
    // Twice as long as the patience, so that each PING was answered.
    assert_eq!(probed.event_within(A_WHILE).await, None);
    mood.send_replace(Mood::Hung);
    let started = Instant::now();
    let event = probed.event().await;
    let ProbeEvent::Silent { silence, .. } = event else { unreachable!("{event:?}") };
    assert_eq!(silence.host, HostSign::Acknowledged, "its kernel takes the PING");
    assert!(started.elapsed() >= Duration::from_millis(130), "{:?}", started.elapsed());
    assert!(silence.since.elapsed() >= Duration::from_millis(150), "{:?}", silence.since.elapsed());
    assert_eq!(backend.accepted(), 2, "the connections are kept, and nobody knocks");
}

#[tokio::test]
async fn after_a_probe_that_was_given_up_it_is_told_when_the_backend_is_heard_of_again() {
    let authority = Authority::new();
    let (backend, mood) = apiserver(&authority).await;
    let mut probed = Probed::https_with(&backend, &authority, |target| {
        target.timeout = Duration::from_millis(200);
        target.heartbeat = Some(Duration::from_millis(20));
        target.patience = Duration::from_millis(100);
    });
    probed.expect_ready().await;
    await_accepted(&backend, 2).await;
    // Until the first PING on it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    mood.send_replace(Mood::Hung);
    let silent = probed.event().await;
    assert!(matches!(silent, ProbeEvent::Silent { .. }), "{silent:?}");
    probed.prober.probe(ProbeRequest { attempt: 99, ..ProbeRequest::default() });
    let outcome = loop {
        if let ProbeEvent::Done { attempt: 99, outcome, .. } = probed.event().await {
            break outcome;
        }
    };
    assert_eq!(outcome, ProbeOutcome::Failed(Failure::Timeout(Phase::Request)));
    mood.send_replace(Mood::Well);
    let serving = |event| match event {
        ProbeEvent::Silent { silence, .. } => matches!(silence.host, HostSign::Serving { .. }),
        ProbeEvent::Done { .. } | ProbeEvent::ConnectionLost { .. } => unreachable!("{event:?}"),
    };
    while !serving(probed.event().await) {}
    probed.expect_ready().await;
    assert_eq!(backend.accepted(), 2, "the same connections");
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
