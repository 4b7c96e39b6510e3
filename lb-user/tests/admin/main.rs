//! The admin API, the metrics listener and the client, with a fake agent behind them.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod fake;
mod limits;
mod metrics;
mod socket;
mod stream;

use std::{sync::Arc, time::Duration};

use fake::{Fake, body, code, json};
use lb_core::{
    model::{Admin, Health, ServiceName},
    operator::OperatorRequest,
    view::connections::ConnectionFilter,
};
use lb_user::admin::{Agent, ClientError, Connections, Limits};

fn apiserver() -> Option<ServiceName> {
    Some("apiserver".parse().unwrap())
}

#[tokio::test]
async fn status_and_backends_carry_counters_read_when_asked() {
    let fake = Fake::start();
    let status = fake.client().status().await.unwrap();
    assert_eq!(status.agent.pid, 4242);
    assert_eq!(status.warnings, Vec::<String>::new());
    let backends = fake.client().backends().await.unwrap();
    assert_eq!(backends.services, status.services);
    assert_eq!(backends.services[0].backends[0].connections.total, 120);
}

#[tokio::test]
async fn answers_are_json_and_close_the_connection() {
    let fake = Fake::start();
    let answer = fake.get("GET", "/v1/backends").await;
    assert_eq!(code(&answer), 200, "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert_eq!(json(&answer)["services"][0]["backends"][0]["probe"]["latencyMs"], 0.8);
}

#[tokio::test]
async fn connections_are_listed_by_what_is_asked_for() {
    let fake = Fake::start();
    let all = fake.client().connections(&ConnectionFilter::default()).await.unwrap();
    assert_eq!((all.connections.len(), all.total, all.truncated), (3, 3, false));
    assert_eq!(all.capacity.unwrap().open, 16_384);
    let backend = Some("[fd00::2]:6443".parse().unwrap());
    let filter = ConnectionFilter { service: apiserver(), backend, limit: 1 };
    let one = fake.client().connections(&filter).await.unwrap();
    assert_eq!((one.connections.len(), one.total, one.truncated), (1, 2, true));
    assert_eq!(one.connections[0].service, apiserver());
    let answer = fake.get("GET", "/v1/connections?backend=192.168.0.9:1").await;
    assert_eq!((code(&answer), &json(&answer)["total"]), (200, &0.into()));
}

#[tokio::test]
async fn a_kernel_that_does_not_tell_its_connections_is_an_error_of_its_own() {
    for (list, status, name) in [
        (Arc::new(|_: &_, _: &_| Err("failed to read map".to_owned())) as Connections, 500, "kernel"),
        (
            Arc::new(|_: &_, _: &_| {
                std::thread::sleep(Duration::from_millis(300));
                Err(String::new())
            }),
            503,
            "kernelBusy",
        ),
    ] {
        let limits = Limits { agent: Duration::from_millis(100), ..Limits::default() };
        let fake = Fake::listing(limits, list);
        let answer = fake.get("GET", "/v1/connections").await;
        assert_eq!(
            (code(&answer), json(&answer)["error"]["code"].as_str()),
            (status, Some(name)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn the_client_reaches_the_agent_with_every_request() {
    let mut fake = Fake::start();
    let v6 = "[fd00::2]:6443".parse().unwrap();
    let v4 = "192.168.0.9:6443".parse().unwrap();
    for request in [
        OperatorRequest::SetAdmin { service: apiserver(), address: v6, admin: Admin::Draining },
        OperatorRequest::Drain { service: None, address: v6, timeout: Duration::from_secs(90) },
        OperatorRequest::SetWeight { service: None, address: v6, weight: 7 },
        OperatorRequest::Add { service: apiserver(), address: v4, weight: 3 },
    ] {
        let answer = fake.client().operate(request.clone()).await.unwrap();
        assert_eq!(answer.address, request.address());
        assert_eq!(fake.asked().await, request);
    }
    let remove = OperatorRequest::Remove { service: None, address: v6 };
    let error = fake.client().operate(remove.clone()).await.unwrap_err();
    assert_eq!(fake.asked().await, remove);
    assert_eq!(
        error.to_string(),
        "backend [fd00::2]:6443 of service apiserver comes from the config file; hint: remove it from the config \
         file, or run `lbctl backends disable [fd00::2]:6443`"
    );
    assert!(
        matches!(&error, ClientError::Api { status: 409, error } if error.code == "fromConfig"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_zone_in_an_address_survives_the_path() {
    let mut fake = Fake::start();
    let request =
        OperatorRequest::SetWeight { service: None, address: "[fe80::1%2]:6443".parse().unwrap(), weight: 1 };
    fake.client().operate(request.clone()).await.unwrap();
    assert_eq!(fake.asked().await, request);
}

#[tokio::test]
async fn one_patch_may_change_weight_and_intent() {
    let mut fake = Fake::start();
    let path = "/v1/services/-/backends/192.168.0.2:6443";
    let answer = fake.send("PATCH", path, r#"{"admin":"disabled","weight":0}"#).await;
    assert_eq!(code(&answer), 200, "{answer}");
    assert_eq!(json(&answer)["admin"], "disabled");
    let address = "192.168.0.2:6443".parse().unwrap();
    assert_eq!(fake.asked().await, OperatorRequest::SetWeight { service: None, address, weight: 0 });
    assert_eq!(
        fake.asked().await,
        OperatorRequest::SetAdmin { service: None, address, admin: Admin::Disabled }
    );
}

#[tokio::test]
async fn a_timeout_goes_with_draining_only_and_is_written_as_in_the_config_file() {
    let fake = Fake::start();
    let path = "/v1/services/-/backends/192.168.0.2:6443";
    for (body, hint) in [
        (r#"{"admin":"disabled","timeout":"60s"}"#, r#"send {"admin":"draining","timeout":"60s"}"#),
        (r#"{"weight":2,"timeout":"60s"}"#, r#"send {"admin":"draining","timeout":"60s"}"#),
        (r#"{"admin":"draining","timeout":"60"}"#, "write 60s or 60ms"),
    ] {
        let answer = fake.send("PATCH", path, body).await;
        assert_eq!(code(&answer), 400, "{answer}");
        assert_eq!(json(&answer)["error"]["hint"], hint, "{answer}");
    }
}

#[tokio::test]
async fn put_adds_with_weight_1_where_none_is_given() {
    let fake = Fake::start();
    for (body, weight) in [("", 1), ("{}", 1), (r#"{"weight":5}"#, 5)] {
        let answer = fake.send("PUT", "/v1/services/apiserver/backends/10.0.0.9:6443", body).await;
        assert_eq!(code(&answer), 201, "{answer}");
        assert_eq!(json(&answer)["weight"], weight);
    }
}

#[tokio::test]
async fn bad_requests_get_a_code_a_message_and_never_reach_the_agent() {
    let mut fake = Fake::start();
    let good = "/v1/services/apiserver/backends/192.168.0.2:6443";
    let long = format!(r#"{{"admin":"{}"}}"#, "x".repeat(16 * 1024));
    for (method, path, sent, status, name) in [
        ("GET", "/nowhere", "", 404, "noSuchPath"),
        ("GET", "/v1/status/", "", 404, "noSuchPath"),
        ("POST", "/v1/status", "", 405, "wrongMethod"),
        ("DELETE", "/v1/connections", "", 405, "wrongMethod"),
        ("GET", "/v1/connections?vip=x", "", 400, "badQuery"),
        ("GET", "/v1/connections?service=web", "", 404, "unknownService"),
        ("GET", good, "", 405, "wrongMethod"),
        ("PATCH", "/v1/services/Bad/backends/192.168.0.2:6443", "{}", 400, "badPath"),
        ("PATCH", "/v1/services/apiserver/backends/nonsense", "{}", 400, "badPath"),
        ("PATCH", good, "", 400, "badBody"),
        ("PATCH", good, "{", 400, "badBody"),
        ("PATCH", good, "{}", 400, "badBody"),
        ("PATCH", good, r#"{"admin":"asleep"}"#, 400, "badBody"),
        ("PATCH", good, r#"{"weight":-1}"#, 400, "badBody"),
        ("PATCH", good, r#"{"weight":65536}"#, 400, "badBody"),
        ("PATCH", good, r#"{"wieght":1}"#, 400, "badBody"),
        ("PUT", good, "[]x", 400, "badBody"),
        ("PATCH", good, &long, 413, "bodyTooLong"),
    ] {
        let answer = fake.send(method, path, sent).await;
        assert_eq!(code(&answer), status, "{method} {path}: {answer}");
        assert_eq!(json(&answer)["error"]["code"], name, "{method} {path}: {answer}");
        assert_ne!(json(&answer)["error"]["message"], "", "{method} {path}: {answer}");
    }
    // The next request that the agent sees is this one: none of the above came through.
    let wanted = OperatorRequest::SetWeight {
        service: apiserver(),
        address: "192.168.0.2:6443".parse().unwrap(),
        weight: 2,
    };
    fake.client().operate(wanted.clone()).await.unwrap();
    assert_eq!(fake.asked().await, wanted);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let fake = Fake::start();
    let answer = fake.get("POST", "/v1/services/a/backends/1.2.3.4:5").await;
    assert!(answer.contains("allow: PATCH, PUT, DELETE\r\n"), "{answer}");
}

#[tokio::test]
async fn garbage_is_answered_or_cut_off_and_the_server_lives_on() {
    let fake = Fake::start();
    let garbage = fake::exchange(&fake.socket(), "\u{1}\u{2}\u{3} not http at all\r\n\r\n").await;
    assert!(garbage.starts_with("HTTP/1.1 400"), "{garbage}");
    let endless = fake::exchange(&fake.socket(), &format!("GET /{} ", "x".repeat(64 * 1024))).await;
    assert!(endless.starts_with("HTTP/1.1 4"), "{endless}");
    fake.client().status().await.unwrap();
}

#[tokio::test]
async fn what_the_agent_refuses_keeps_its_status_code_and_hint() {
    let fake = Fake::start();
    let answer = fake.send("PATCH", "/v1/services/etcd/backends/1.2.3.4:5", r#"{"weight":1}"#).await;
    assert_eq!(code(&answer), 404);
    let wanted = r#"{"error":{"code":"unknownService","message":"no service is named etcd","hint":"known services: apiserver"}}"#;
    assert_eq!(body(&answer).trim_end(), wanted);
    let answer = fake.send("PATCH", "/v1/services/-/backends/1.2.3.4:5", r#"{"weight":1}"#).await;
    assert_eq!((code(&answer), &json(&answer)["error"]["code"]), (404, &"unknownBackend".into()));
}

#[tokio::test]
async fn healthz_follows_the_loop_and_readyz_says_what_is_missing() {
    let fake = Fake::start();
    for path in ["/healthz", "/readyz"] {
        let answer = fake.get("GET", path).await;
        assert_eq!((code(&answer), body(&answer)), (200, "ok\n"));
    }
    fake.change(|status| {
        status.services[0].backends.iter_mut().for_each(|b| b.serving = false);
        status.dataplane.effective = false;
        status.dataplane.error = Some("the self-connect was not redirected".to_owned());
    });
    let answer = fake.get("GET", "/readyz").await;
    assert_eq!(code(&answer), 503);
    assert_eq!(
        body(&answer),
        "dataplane socket is not effective: the self-connect was not redirected\n\
         service apiserver has no serving backend\n"
    );
    assert_eq!(code(&fake.get("GET", "/healthz").await), 200);
}

#[tokio::test]
async fn readyz_waits_for_the_first_programming_of_the_kernel() {
    let fake = Fake::start();
    fake.snapshots.send_modify(|snapshot| snapshot.ready = false);
    let answer = fake.get("GET", "/readyz").await;
    assert_eq!((code(&answer), body(&answer)), (503, "the agent is starting\n"));
    // A backend that is notReady but still serves (all are down) keeps the service reachable.
    fake.snapshots.send_modify(|snapshot| snapshot.ready = true);
    fake.change(|status| status.services[0].backends[0].health = Health::NotReady);
    assert_eq!(code(&fake.get("GET", "/readyz").await), 200);
}

#[tokio::test]
async fn a_loop_that_ended_is_unhealthy_and_takes_no_orders() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, agent_loop) = fake::channels(Arc::new(|_| {}));
    let socket = fake::socket_in(&dir);
    let server = lb_user::admin::AdminServer::bind(&socket, agent, Limits::default()).unwrap();
    tokio::spawn(server.run(std::future::pending()));
    drop(agent_loop);
    for path in ["/healthz", "/readyz"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: lbctl\r\n\r\n");
        assert_eq!(code(&fake::exchange(&socket, &request).await), 503, "{path}");
    }
    let wish = OperatorRequest::SetWeight { service: None, address: "1.2.3.4:5".parse().unwrap(), weight: 1 };
    let error = lb_user::admin::Client::new(&socket).operate(wish).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Api { status: 503, error } if error.code == "agentGone"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_busy_loop_is_reported_before_the_client_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, _never_read): (Agent, _) = fake::channels(Arc::new(|_| {}));
    let socket = fake::socket_in(&dir);
    let limits = Limits { agent: Duration::from_millis(100), ..Limits::default() };
    let server = lb_user::admin::AdminServer::bind(&socket, agent, limits).unwrap();
    tokio::spawn(server.run(std::future::pending()));
    let wish = OperatorRequest::SetWeight { service: None, address: "1.2.3.4:5".parse().unwrap(), weight: 1 };
    let error = lb_user::admin::Client::new(&socket).operate(wish).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Api { status: 503, error } if error.code == "agentBusy"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_kernel_that_hangs_costs_the_counters_and_nothing_else() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let hang = Arc::new(move |_: &mut lb_core::view::StatusView| {
        let _ = held.lock().unwrap().recv();
    });
    let limits = Limits { counters: Duration::from_millis(50), ..Limits::default() };
    let fake = Fake::start_with(limits, hang);
    for _ in 0..3 {
        let status = fake.client().status().await.unwrap();
        assert_eq!(status.services.len(), 1);
        assert_eq!(status.warnings, ["connection counters are missing or old: the kernel did not answer"]);
    }
    drop(release);
}
