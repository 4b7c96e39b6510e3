//! Child processes with a deadline.

use std::{
    io,
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at a child. The kernel offers no wait with a deadline without a signal handler.
const LOOK: Duration = Duration::from_millis(2);

/// Waits for a child; past the deadline it is killed, and the error says so.
pub fn wait_deadline(child: &mut Child, deadline: Duration) -> io::Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {deadline:?}")));
        }
        thread::sleep(LOOK);
    }
}
