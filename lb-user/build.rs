//! Compiles the kernel programs (lb-ebpf) and leaves the object in OUT_DIR.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, bail};
use aya_build::Toolchain;

/// Toolchains that can build `core` for the BPF target, in order of preference: rustup's nightly with the
/// component rust-src, or `debweb`, the name under which `cargo xtask setup` links Debian's rustc-web, whose
/// package rust-web-src carries the matching library source.
const CANDIDATES: [&str; 2] = ["nightly", "debweb"];

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=../lb-common");
    // Building `core` is an unstable feature; a released compiler only allows it with RUSTC_BOOTSTRAP, which
    // must not leak into the compilation of the other crates. So it is set for a second run of this script.
    if env::var_os("RUSTC_BOOTSTRAP").is_none() {
        let status = Command::new(env::current_exe()?).env("RUSTC_BOOTSTRAP", "1").status()?;
        if !status.success() {
            bail!("failed to build the kernel programs: {status}");
        }
        return Ok(());
    }
    let toolchain = CANDIDATES.into_iter().find(|name| has_library_source(name)).context(
        "no toolchain can build core for the BPF target; run `cargo xtask setup`, or install rustup's nightly with the component rust-src",
    )?;
    let package = aya_build::Package { name: "lb-ebpf", root_dir: "../lb-ebpf", ..Default::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain))?;
    let out = env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
    OBJECTS.iter().try_for_each(|name| strip(&Path::new(&out).join(name)))
}

/// The objects that lbctl embeds.
const OBJECTS: [&str; 3] = ["lbctl-socket", "lbctl-socket-told", "lbctl-packet"];

/// Where llvm-strip may be: Debian's, which `cargo xtask setup` brings with LLVM, or anybody's.
const STRIPPERS: [&str; 3] = ["/usr/lib/llvm-22/bin/llvm-strip", "llvm-strip-22", "llvm-strip"];

/// Takes the debugging sections out, which are four fifths of an object; BTF, which the loader reads, stays. Without the tool lbctl
/// only is larger.
fn strip(object: &Path) -> anyhow::Result<()> {
    for stripper in STRIPPERS {
        match Command::new(stripper).arg("--strip-debug").arg(object).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => bail!("failed to strip {}: {stripper} ended with {status}", object.display()),
            Err(_) => {}
        }
    }
    println!("cargo:warning=no llvm-strip: the kernel programs keep their debugging sections");
    Ok(())
}

fn has_library_source(toolchain: &str) -> bool {
    let Ok(out) = Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output()
    else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&out.stdout);
    out.status.success() && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists()
}
