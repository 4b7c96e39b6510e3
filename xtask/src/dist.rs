//! `cargo xtask dist`: the archive that is handed out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{build, commit, process, setup, terminal};

/// Pack the static binary into an archive that is the same, byte for byte, each time.
///
/// Times in the archive are those of the last commit, or what SOURCE_DATE_EPOCH says.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask dist                                  into target/dist
  cd target/dist && sha256sum --check *.sha256      check what was packed")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    setup::ensure(setup::BUILDING)?;
    let binary = build::release()?;
    let name = package_name(env!("CARGO_PKG_VERSION"), binary.architecture());
    let dist = process::target_dir().join("dist");
    let contents = dist.join(&name);
    terminal::step(&format!("packing {name}"));
    collect(&binary.path, &contents)?;
    let archive = pack(&dist, &name)?;
    fs::remove_dir_all(&contents).with_context(|| format!("failed to remove {}", contents.display()))?;
    let sum = process::capture(
        process::command("sha256sum").arg(archive.file_name().unwrap_or_default()).current_dir(&dist),
    )?;
    let sum_file = dist.join(format!("{name}.tar.gz.sha256"));
    fs::write(&sum_file, &sum).with_context(|| format!("failed to write {}", sum_file.display()))?;
    println!("{}\n{}", archive.display(), sum.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Puts everything that belongs into the archive into the fresh directory `to`.
fn collect(binary: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("failed to remove {}", to.display()))?;
    }
    fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    let root = process::root();
    copy(binary, &to.join("lbctl"))?;
    for file in ["LICENSE", "README.md"] {
        copy(&root.join(file), &to.join(file))?;
    }
    let manifests = root.join("manifests");
    if fs::read_dir(&manifests).is_ok_and(|mut entries| entries.next().is_some()) {
        process::run(process::command("cp").arg("--recursive").arg(&manifests).arg(to))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn pack(dist: &Path, name: &str) -> Result<PathBuf> {
    let archive = dist.join(format!("{name}.tar.gz"));
    process::run(
        process::command("tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"])
            .args(["--mode=u=rwX,go=rX", "--use-compress-program=gzip --no-name --best"])
            .arg(format!("--mtime=@{}", commit::date()))
            .arg("--file")
            .arg(&archive)
            .arg(name)
            .env("LC_ALL", "C")
            .current_dir(dist),
    )?;
    Ok(archive)
}

/// As Kubernetes' own archives are named.
fn package_name(version: &str, architecture: &str) -> String {
    format!("lbctl-{version}-linux-{architecture}")
}
