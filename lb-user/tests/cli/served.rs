//! The fake agent on a thread of its own, so that a test may wait for a command.

use std::{sync::mpsc, thread};

use tokio::sync::oneshot;

use super::{
    fake::{Fake, PATIENCE},
    sandbox::{Finished, Sandbox},
};

pub struct Served {
    /// Its admin socket.
    pub socket: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Served {
    pub fn start() -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let fake = Fake::start();
                tell.send(fake.socket().to_str().unwrap().to_owned()).unwrap();
                let _ = stopped.await;
            });
        });
        let socket = told.recv_timeout(PATIENCE).unwrap();
        Self { socket, stop: Some(stop), thread: Some(thread) }
    }

    /// Runs a command that asks it.
    pub fn asked(&self, sandbox: &Sandbox, arguments: &[&str]) -> Finished {
        sandbox.lbctl(&[&["--admin-socket", &self.socket], arguments].concat())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}
