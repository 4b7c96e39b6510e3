//! What a command does meanwhile, for who waits for it at a terminal.

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// What takes less is not worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says on stderr what takes longer than a second; the line goes away when something else begins, or with this.
pub(super) struct Progress {
    told: Option<(Sender<&'static str>, JoinHandle<()>)>,
}

impl Progress {
    /// Silent where stderr is no terminal.
    pub(super) fn on_terminal() -> Self {
        let told = io::stderr().is_terminal().then(|| {
            let (steps, heard) = channel();
            (steps, thread::spawn(move || tell(|patience| heard.recv_timeout(patience), &mut io::stderr())))
        });
        Self { told }
    }

    /// Something begins, and what came before is over.
    pub(super) fn begin(&self, step: &'static str) {
        if let Some((steps, _)) = &self.told {
            // Who tells has ended where stderr is closed.
            let _ = steps.send(step);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((steps, teller)) = self.told.take() {
            drop(steps);
            let _ = teller.join();
        }
    }
}

fn tell(
    mut next: impl FnMut(Duration) -> Result<&'static str, RecvTimeoutError>,
    stderr: &mut impl io::Write,
) {
    // Carriage return, and erase to the end of the line (ECMA-48).
    let mut write = |text: &str| write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).is_ok();
    let (mut step, mut shown) = (None, false);
    loop {
        match next(PATIENCE) {
            Ok(begun) => {
                if shown && !write("") {
                    return;
                }
                (step, shown) = (Some(begun), false);
            }
            Err(RecvTimeoutError::Timeout) => {
                if let (Some(step), false) = (step, shown) {
                    shown = write(&format!("lbctl: {step} ..."));
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                if shown {
                    write("");
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_longer_is_told_and_it_goes_away() {
        let mut heard = [
            Ok("quick"),
            Ok("slow"),
            Err(RecvTimeoutError::Timeout),
            Err(RecvTimeoutError::Timeout),
            Ok("last"),
            Err(RecvTimeoutError::Disconnected),
        ]
        .into_iter();
        let mut stderr = Vec::new();
        tell(|_| heard.next().unwrap(), &mut stderr);
        assert_eq!(String::from_utf8(stderr).unwrap(), "\r\u{1b}[Klbctl: slow ...\r\u{1b}[K");
    }
}
