use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use lb_user::admin::{AdminServer, BindError, Client, ClientError, Limits};

use crate::fake::{Fake, channels, socket_in};

fn bind(path: &Path) -> Result<AdminServer, BindError> {
    AdminServer::bind(path, channels(Arc::new(|_| {})).0, Limits::default())
}

#[tokio::test]
async fn only_the_owner_may_connect() {
    let fake = Fake::start();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&fake.socket()), 0o600);
    // The directory was missing. What the umask of whoever runs the test takes away is not ours to give.
    assert_eq!(mode(fake.socket().parent().unwrap()) & !0o755, 0);
}

#[tokio::test]
async fn stopping_removes_the_socket_and_the_client_says_what_that_means() {
    let fake = Fake::start();
    let client = fake.client();
    client.status().await.unwrap();
    let dir = fake.stop().await;
    assert!(!socket_in(&dir).exists());
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    assert!(error.to_string().ends_with("hint: is the agent running? systemctl status lbctl"), "{error}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbctl.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = Client::new(&path).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    let server = bind(&path).unwrap();
    tokio::spawn(server.run(std::future::pending()));
    Client::new(&path).status().await.unwrap();
}

#[tokio::test]
async fn a_live_socket_is_left_alone_and_its_owner_named() {
    let fake = Fake::start();
    let before = fs::metadata(fake.socket()).unwrap().ino();
    let error = bind(&fake.socket()).map(|_| ()).unwrap_err();
    let own = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(&error, BindError::AlreadyServed { pid: Some(pid), .. } if *pid == own), "{error:?}");
    assert!(error.to_string().contains(&format!("in use by process {own}")), "{error}");
    assert_eq!(fs::metadata(fake.socket()).unwrap().ino(), before);
    fake.client().status().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_took_our_place_is_not_removed() {
    let fake = Fake::start();
    fs::remove_file(fake.socket()).unwrap();
    let _other = UnixListener::bind(fake.socket()).unwrap();
    let dir = fake.stop().await;
    assert!(socket_in(&dir).exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbctl.sock");
    fs::write(&path, "precious").unwrap();
    let error = bind(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_path_of_107_bytes_works_and_one_of_108_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let room = 107 - dir.path().as_os_str().len() - 1;
    let fits = dir.path().join("s".repeat(room));
    let _server = bind(&fits).unwrap();
    let too_long = dir.path().join("s".repeat(room + 1));
    let error = bind(&too_long).map(|_| ()).unwrap_err();
    assert!(matches!(error, BindError::PathTooLong { length: 108, .. }), "{error:?}");
    assert!(error.to_string().contains("has 108 bytes, 107 is the most; hint: set admin.socket"), "{error}");
    let error = Client::new(&too_long).status().await.unwrap_err();
    assert!(matches!(error, ClientError::PathTooLong { length: 108, .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_socket_and_a_silent_server_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbctl.sock");
    let error = Client::new(&path).backends().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    let _silent = UnixListener::bind(&path).unwrap();
    let client = Client::new(&path).with_deadline(Duration::from_millis(50));
    let error = client.backends().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_no_agent_is_a_bad_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbctl.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.try_write(b"SSH-2.0-nonsense\r\n");
        }
    });
    let error = Client::new(&path).status().await.unwrap_err();
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error:?}");
}
