//! Who may run beside whom: figures in milliseconds mean nothing while another test takes the cores.

use std::fs::File;
use std::path::Path;

/// Held for the length of a test.
#[must_use]
pub struct Turn(#[expect(dead_code, reason = "locked as long as it is open")] File);

/// For a test that measures short times: no other one runs meanwhile, not even one of another test binary.
pub fn alone() -> Turn {
    let file = open();
    file.lock().unwrap();
    Turn(file)
}

/// For all other tests.
pub fn beside_others() -> Turn {
    let file = open();
    file.lock_shared().unwrap();
    Turn(file)
}

fn open() -> File {
    File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("turn.lock")).unwrap()
}
