//! `cargo xtask image`: the static binary as a container image, made without a container engine.

mod blob;
mod contents;
mod layout;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use self::{blob::Blob, layout::About, reference::Reference};
use crate::{
    build::{self, Binary},
    commit, process, setup, terminal,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Pack the static binary into a container image, as a tar that containerd and podman load.
///
/// The image holds the binary and nothing else that runs. The same binary and commit give the same digest: times in it
/// are those of the last commit, or what SOURCE_DATE_EPOCH says.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image                                     into target/image
  cargo xtask image --tag registry.example.com/lbctl:1 --out lbctl.tar
  ctr --namespace k8s.io images import lbctl.tar        make it known to a kubelet's containerd
  podman load --input lbctl.tar")]
pub(crate) struct Args {
    /// The image's name
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("lbctl:", env!("CARGO_PKG_VERSION")))]
    tag: Reference,

    /// Where to write the tar; by default target/image/lbctl-VERSION.tar
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure(setup::BUILDING)?;
    let binary = build::release()?;
    let out = args.out.clone().unwrap_or_else(usual_place);
    terminal::step(&format!("packing {}", args.tag));
    let image = pack(&binary, &args.tag, out)?;
    println!("{}", image.description(&args.tag));
    Ok(ExitCode::SUCCESS)
}

/// An image that lies in a file.
pub(crate) struct Image {
    /// The file.
    pub(crate) path: PathBuf,
    /// The manifest's digest, by which registries and `ctr images list` call the image.
    digest: String,
    /// The file's size.
    bytes: usize,
}

impl Image {
    fn description(&self, tag: &Reference) -> String {
        let mebibytes = self.bytes as f64 / f64::from(1 << 20);
        format!("{}: {tag}, {mebibytes:.2} MiB ({} bytes)\n{}", self.path.display(), self.bytes, self.digest)
    }
}

/// Packs the binary under the usual name into the usual place.
///
/// # Errors
/// As [`pack`].
pub(crate) fn pack_as_usual(binary: &Binary) -> Result<Image> {
    let tag: Reference = format!("lbctl:{VERSION}").parse().map_err(anyhow::Error::msg)?;
    pack(binary, &tag, usual_place())
}

fn usual_place() -> PathBuf {
    process::target_dir().join("image").join(format!("lbctl-{VERSION}.tar"))
}

/// Packs the binary under a name into a file.
///
/// # Errors
/// When the binary cannot be read or the tar cannot be written.
fn pack(binary: &Binary, tag: &Reference, out: PathBuf) -> Result<Image> {
    let contents =
        fs::read(&binary.path).with_context(|| format!("failed to read {}", binary.path.display()))?;
    let about = About {
        architecture: binary.architecture(),
        version: VERSION,
        revision: commit::revision(),
        date: commit::date(),
    };
    let packed = layout::pack(&contents, tag, &about).context("failed to pack the image")?;
    write(&packed.tar, &out).with_context(|| format!("failed to write {}", out.display()))?;
    Ok(Image { path: out, digest: packed.digest, bytes: packed.tar.len() })
}

fn write(tar: &[u8], out: &Path) -> std::io::Result<()> {
    if let Some(dir) = out.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(out, tar)
}
