//! What it costs on this machine merely to be woken for a message and to answer it: a thread that does nothing else, without
//! TLS, HTTP or a network in between.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::thread::gettid;

use crate::usage;

/// As long as an HTTP/2 PING in a TLS record.
const MESSAGE: [u8; 39] = [0; 39];
/// The agent asks each master so often: three PINGs and a probe in two seconds.
const PAUSE: Duration = Duration::from_millis(500);

/// Messages to one answerer for some time, at an agent's pace.
pub(super) struct Bare(thread::JoinHandle<anyhow::Result<f64>>);

impl Bare {
    pub(super) fn start(period: Duration) -> Self {
        Self(thread::spawn(move || talk(period)))
    }

    /// Percent of a core that the answerer used.
    pub(super) fn percent(self) -> anyhow::Result<f64> {
        let outcome = self.0.join().ok().context("a thread has ended early");
        outcome.flatten().context("exchange messages with a thread")
    }
}

fn talk(period: Duration) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let mut stream = TcpStream::connect(listener.local_addr().context("listen")?).context("connect")?;
    stream.set_read_timeout(Some(PAUSE * 10)).context("set a deadline")?;
    let (peer, _) = listener.accept().context("accept")?;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // The one that asks has gone, or goes without this thread's time.
        let _ = tell.send(gettid());
        answer(peer);
    });
    let thread = told.recv().context("start a thread")?.as_raw_nonzero().get();
    let (began, used) = (Instant::now(), usage::thread_time(thread)?);
    while began.elapsed() < period {
        thread::sleep(PAUSE);
        stream.write_all(&MESSAGE).context("ask")?;
        stream.read_exact(&mut MESSAGE.clone()).context("read the answer")?;
    }
    let used = usage::thread_time(thread)?.saturating_sub(used);
    Ok(100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Until the other side closes.
fn answer(mut peer: TcpStream) {
    let mut message = MESSAGE;
    while peer.read_exact(&mut message).is_ok() && peer.write_all(&message).is_ok() {}
}
