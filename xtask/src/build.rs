//! `cargo xtask build`: lbctl, and for a release the proof that it is static and small.

mod elf;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup, terminal};

/// The release binary must stay below this: what has to be on every node should cost next to nothing to ship.
const SIZE_LIMIT: u64 = 12 << 20;

/// Build lbctl.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask build              a debug build, for development
  cargo xtask build --release    the static binary that is shipped, checked for being so")]
pub(crate) struct Args {
    /// Build the static, stripped binary
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure(setup::BUILDING)?;
    if args.release {
        let binary = release()?;
        println!("{}", binary.description());
    } else {
        process::run(process::cargo("build").args(["--package", "lb-user"]))?;
        println!("{}", process::target_dir().join("debug/lbctl").display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A release binary that has been checked.
pub(crate) struct Binary {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The target it is for, such as `x86_64-unknown-linux-gnu`.
    target: String,
    bytes: u64,
}

impl Binary {
    /// The architecture, as Kubernetes and the OCI image format name it.
    pub(crate) fn architecture(&self) -> &str {
        architecture(&self.target)
    }

    fn description(&self) -> String {
        let mebibytes = self.bytes as f64 / f64::from(1 << 20);
        format!("{}: static, {mebibytes:.2} MiB ({} bytes)", self.path.display(), self.bytes)
    }
}

/// Builds the static release binary and checks that it is what it should be.
///
/// # Errors
/// When it cannot be built, needs a shared library or is too large.
pub(crate) fn release() -> Result<Binary> {
    let target = host_triple()?;
    terminal::step(&format!("building the static lbctl for {target}"));
    // The flag must reach neither build scripts nor procedural macros, so it is given for the target alone; and
    // cargo ignores it when one of the general variables is set.
    process::run(
        process::cargo("build")
            .args(["--release", "--package", "lb-user", "--bin", "lbctl", "--target", &target])
            .env(flags_variable(&target), "-Ctarget-feature=+crt-static")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )?;
    let path = process::target_dir().join(&target).join("release/lbctl");
    let bytes = verify(&path)?;
    Ok(Binary { path, target, bytes })
}

fn verify(path: &Path) -> Result<u64> {
    let image = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let linkage =
        elf::linkage(&image).with_context(|| format!("failed to read {} as ELF", path.display()))?;
    if let Some(objection) = linkage.objection() {
        bail!("failed to make {} static: {objection}", path.display());
    }
    let bytes = image.len() as u64;
    if bytes >= SIZE_LIMIT {
        bail!(
            "failed to keep {} small: {bytes} bytes, the limit is {SIZE_LIMIT}; \
             `cargo tree -e normal -p lb-user` shows what came in",
            path.display()
        );
    }
    Ok(bytes)
}

fn host_triple() -> Result<String> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = process::capture(process::command(&rustc).arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("failed to find the host in the output of `rustc -vV`")
}

fn architecture(target: &str) -> &str {
    match target.split('-').next().unwrap_or(target) {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn flags_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace(['-', '.'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_named_as_kubernetes_names_them() {
        for (target, expected) in [
            ("x86_64-unknown-linux-gnu", "amd64"),
            ("aarch64-unknown-linux-gnu", "arm64"),
            ("riscv64gc-unknown-linux-gnu", "riscv64gc"),
        ] {
            assert_eq!(architecture(target), expected);
        }
    }

    #[test]
    fn flags_for_one_target_are_given_in_a_variable_named_after_it() {
        assert_eq!(
            flags_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS"
        );
    }
}
