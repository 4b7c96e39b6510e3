use std::{sync::Arc, time::Duration};

use lb_user::admin::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::fake::{Fake, PATIENCE, code};

async fn answer_on(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_until_another_leaves() {
    let fake = Fake::start_with(Limits { connections: 2, ..Limits::default() }, Arc::new(|_| {}));
    let first = UnixStream::connect(fake.socket()).await.unwrap();
    let _second = UnixStream::connect(fake.socket()).await.unwrap();
    let mut third = UnixStream::connect(fake.socket()).await.unwrap();
    third.write_all(b"GET /healthz HTTP/1.1\r\nHost: lbctl\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(200), third.read(&mut byte)).await.is_err());
    drop(first);
    assert_eq!(code(&answer_on(third).await), 200);
}

#[tokio::test]
async fn a_client_that_never_sends_a_head_is_cut_off() {
    let limits = Limits { read: Duration::from_millis(50), ..Limits::default() };
    let fake = Fake::start_with(limits, Arc::new(|_| {}));
    for begun in ["", "GET /heal"] {
        let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = answer_on(stream).await;
        assert!(answer.is_empty() || code(&answer) == 408, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_sends_its_body_is_told() {
    let limits = Limits { read: Duration::from_millis(50), ..Limits::default() };
    let fake = Fake::start_with(limits, Arc::new(|_| {}));
    let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
    let head = "PATCH /v1/services/-/backends/1.2.3.4:5 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(code(&answer_on(stream).await), 408);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_place() {
    let limits = Limits { connections: 1, connection: Duration::from_millis(300), ..Limits::default() };
    let fake = Fake::start_with(limits, Arc::new(|_| {}));
    // Far more than the kernel buffers for a unix socket.
    fake.change(|status| status.warnings = vec!["x".repeat(4 << 20)]);
    let mut stuck = UnixStream::connect(fake.socket()).await.unwrap();
    stuck.write_all(b"GET /v1/status HTTP/1.1\r\nHost: lbctl\r\n\r\n").await.unwrap();
    assert_eq!(code(&fake.get("GET", "/healthz").await), 200);
}
