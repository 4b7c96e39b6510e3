//! Fetching Debian's kernels.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{cache, kernels::Kernel};
use crate::{process, terminal};

/// Signs all of Debian's suites, also those older or newer than the machine's own.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel on disk.
pub(super) struct Image {
    /// The kernel itself. The directory above the one it lies in has its modules in `lib/modules`.
    pub(super) file: PathBuf,
}

/// Fetches the kernel, unless it has been fetched before.
///
/// # Errors
/// When Debian cannot be reached or does not have it.
pub(super) fn ensure(kernel: &Kernel) -> Result<Image> {
    let dir = cache::dir()?.join("kernels").join(kernel.version);
    cache::once(&dir, |part| {
        terminal::step(&format!("fetching the kernel {} from Debian's {}", kernel.version, kernel.suite));
        fetch(kernel, part).with_context(|| format!("failed to fetch the kernel {}", kernel.version))
    })?;
    Ok(Image { file: image_in(&dir)? })
}

fn fetch(kernel: &Kernel, to: &Path) -> Result<()> {
    let apt = Apt::prepare(kernel.suite, &to.join("apt"))?;
    process::run(&mut apt.command("apt-get", &["update", "--quiet", "--quiet"]))?;
    let depends = process::capture(&mut apt.command("apt-cache", &["depends", kernel.package]))?;
    let package = newest_build(&depends)
        .with_context(|| format!("{} depends on no kernel in {}", kernel.package, kernel.suite))?;
    terminal::step(&format!("fetching {package}, about 100 MB"));
    process::run(apt.command("apt-get", &["download", "--quiet", "--quiet", package]).current_dir(&apt.dir))?;
    process::run(process::command("dpkg-deb").arg("--extract").arg(file_in(&apt.dir, "", ".deb")?).arg(to))?;
    let image = image_in(to)?;
    let release = release_of(&image).context("the kernel's file has no name of the form vmlinuz-RELEASE")?;
    process::run(process::command("depmod").arg("--basedir").arg(to).arg(release))?;
    cache::remove(&apt.dir)
}

/// apt with package lists of its own, so that nothing changes for the machine's. It checks what it fetches.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn prepare(suite: &str, dir: &Path) -> Result<Self> {
        let format = "$(ORIGIN) $(RELEASE) $(REPO_URI)";
        let targets =
            process::capture(process::command("apt-get").args(["indextargets", "--format", format]))?;
        let Some(mirror) = mirror_among(&targets) else {
            bail!("apt knows no mirror of Debian; hint: apt-get update, on Debian");
        };
        cache::make(&dir.join("lists/partial"))?;
        cache::make(&dir.join("archives/partial"))?;
        let sources = dir.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .with_context(|| format!("failed to write {}", sources.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> std::process::Command {
        let dir = self.dir.display();
        let mut command = process::command(program);
        for option in [
            format!("Dir::Etc::SourceList={dir}/sources.list"),
            "Dir::Etc::SourceParts=-".to_owned(),
            "Dir::State::Status=/dev/null".to_owned(),
            format!("Dir::State::Lists={dir}/lists"),
            format!("Dir::Cache={dir}"),
            "APT::Update::Post-Invoke-Success=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Its usual user may not be able to read a cache below a home directory.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.args(arguments);
        command
    }
}

/// The first mirror of Debian itself in lines of `ORIGIN RELEASE URI`.
fn mirror_among(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (origin, release, uri) = (words.next()?, words.next()?, words.next()?);
        (origin == "Debian" && !release.ends_with("-security")).then(|| uri.trim_end_matches('/'))
    })
}

/// The package that `apt-cache depends` says the metapackage depends on.
fn newest_build(depends: &str) -> Option<&str> {
    depends.lines().find_map(|line| {
        line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-"))
    })
}

fn image_in(dir: &Path) -> Result<PathBuf> {
    file_in(&dir.join("boot"), "vmlinuz-", "")
}

fn release_of(image: &Path) -> Option<&str> {
    image.file_name()?.to_str()?.strip_prefix("vmlinuz-")
}

/// The first file in `dir` whose name begins and ends so.
fn file_in(dir: &Path, beginning: &str, end: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(beginning) && name.ends_with(end))
        })
        .with_context(|| format!("failed to find {beginning}*{end} in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_debians_own_archive_and_not_that_of_security_or_of_others() {
        let targets = "\
            Node n/a https://a.example/node/\n\
            Debian bookworm-security http://b.example/debian-security/\n\
            Debian bookworm http://c.example/debian/\n\
            Debian bookworm-updates http://d.example/debian/\n";
        assert_eq!(mirror_among(targets), Some("http://c.example/debian"));
        assert_eq!(mirror_among("Ubuntu noble http://e.example/ubuntu/\n"), None);
        assert_eq!(mirror_among(""), None);
    }

    #[test]
    fn the_metapackage_names_the_newest_build() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-50-amd64\n  Suggests: x\n";
        assert_eq!(newest_build(depends), Some("linux-image-6.1.0-50-amd64"));
        assert_eq!(newest_build("linux-image-amd64\n"), None);
    }
}
