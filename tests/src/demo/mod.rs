//! The story that `cargo xtask demo` tells: lbctl at its default settings among masters that fail.
//!
//! `story` is the sequence, `stage` what it plays on, `fault` one disaster from its beginning to its end, `table` the
//! figures and what is claimed of them, `voice` how it is told.

mod fault;
mod stage;
mod story;
mod table;
mod voice;

use std::process::ExitCode;

use self::voice::Voice;
use crate::Lab;
use crate::interrupt;

/// As a shell reports a death by SIGINT.
const INTERRUPTED: u8 = 128 + 2;

/// Tells the story. Everything it makes is removed at the end, whichever way it ends.
#[must_use]
pub fn run() -> ExitCode {
    let voice = Voice::new();
    match tell(voice) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if interrupt::happened() => {
            voice.say(&format!("interrupted; everything was removed ({error:#})"));
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            voice.bad(&format!("failed to finish the demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as claimed.
fn tell(voice: Voice) -> anyhow::Result<bool> {
    interrupt::watch()?;
    voice.say("building a node and three masters, each in a network namespace of its own");
    let lab = Lab::builder().build()?;
    let acts = story::play(&lab, voice)?;
    drop(lab);
    voice.say("namespaces, cgroup and mounts are removed");
    println!("\n{}", table::render(&acts));
    let broken: Vec<String> = acts.iter().flat_map(table::broken_claims).collect();
    for claim in &broken {
        voice.bad(claim);
    }
    if broken.is_empty() {
        voice.good("everything went as claimed");
    }
    Ok(broken.is_empty())
}
