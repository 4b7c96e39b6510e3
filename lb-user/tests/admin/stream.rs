use std::{sync::Arc, time::Duration};

use lb_user::admin::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::fake::{Fake, PATIENCE, code, json, transition};

/// An event stream being read.
struct Stream {
    stream: UnixStream,
    seen: String,
}

impl Stream {
    async fn open(fake: &Fake) -> Self {
        let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: lbctl\r\n\r\n").await.unwrap();
        let mut opened = Self { stream, seen: String::new() };
        opened.wait_for(": subscribed\n\n").await;
        opened
    }

    async fn wait_for(&mut self, text: &str) {
        let read = async {
            while !self.seen.contains(text) {
                let mut chunk = [0; 4096];
                let read = self.stream.read(&mut chunk).await.unwrap();
                assert_ne!(read, 0, "the stream ended: {}", self.seen);
                self.seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
            }
        };
        if timeout(PATIENCE, read).await.is_err() {
            panic!("no {text:?} in {:?}", self.seen);
        }
    }
}

#[tokio::test]
async fn transitions_come_as_events_with_one_line_of_data() {
    let fake = Fake::start();
    let mut stream = Stream::open(&fake).await;
    assert!(stream.seen.contains("content-type: text/event-stream\r\n"), "{}", stream.seen);
    fake.transitions.send(transition()).unwrap();
    stream
        .wait_for(concat!(
            "event: transition\n",
            r#"data: {"at":"2026-01-02T03:04:05Z","service":"apiserver","address":"192.168.0.2:6443","#,
            r#""from":"up","to":"dead","reason":"line\nbreak"}"#,
            "\n\n"
        ))
        .await;
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_and_outlives_other_connections() {
    let limits = Limits {
        keep_alive: Duration::from_millis(20),
        connection: Duration::from_millis(60),
        ..Limits::default()
    };
    let fake = Fake::start_with(limits, Arc::new(|_| {}));
    let mut stream = Stream::open(&fake).await;
    for _ in 0..8 {
        stream.seen.clear();
        stream.wait_for(": keep-alive\n\n").await;
    }
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_how_much_it_missed() {
    let fake = Fake::start();
    let mut stream = Stream::open(&fake).await;
    // No await in between: the stream's task cannot run, and the channel holds four.
    for _ in 0..10 {
        fake.transitions.send(transition()).unwrap();
    }
    stream.wait_for("event: lagged\ndata: {\"missed\":6}\n\n").await;
    stream.wait_for("event: transition\n").await;
}

#[tokio::test]
async fn streams_take_no_more_than_their_share_and_give_it_back() {
    let fake = Fake::start_with(Limits { streams: 2, ..Limits::default() }, Arc::new(|_| {}));
    let first = Stream::open(&fake).await;
    let _second = Stream::open(&fake).await;
    let third = fake.get("GET", "/v1/events").await;
    assert_eq!((code(&third), &json(&third)["error"]["code"]), (503, &"tooManyStreams".into()));
    fake.client().status().await.unwrap();
    drop(first);
    let freed = async {
        while fake.transitions.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
    Stream::open(&fake).await;
}

#[tokio::test]
async fn stopping_ends_the_streams() {
    let fake = Fake::start();
    let mut stream = Stream::open(&fake).await;
    fake.stop().await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.stream.read_to_end(&mut rest)).await.unwrap();
}
