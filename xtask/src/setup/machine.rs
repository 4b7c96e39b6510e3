//! What is on this machine, asked of the files themselves: a package database does not know of tools installed
//! otherwise.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::process;

/// What the table of needs may ask.
pub(crate) trait Machine {
    /// Whether a program of this name can be found.
    fn has_program(&self, name: &str) -> bool;
    /// Whether there is a file or directory at this absolute path.
    fn has_file(&self, path: &str) -> bool;
    /// Whether a file of this name lies in the C library's directory for this architecture.
    fn has_c_library(&self, file: &str) -> bool;
    /// Whether this component's program is part of the toolchain that builds lbctl.
    fn has_component_program(&self, name: &str) -> bool;
    /// Whether rustup knows a toolchain of this name that carries cargo, rustc and the source of `core`.
    fn can_build_core(&self, toolchain: &str) -> bool;
    /// Whether Debian's Python can make environments of their own.
    fn can_make_python_environments(&self) -> bool;
    /// The first line of what `program --version` prints, if it runs.
    fn version_of(&self, program: &str) -> Option<String>;
}

/// The machine we run on.
pub(crate) struct Here;

impl Machine for Here {
    fn has_program(&self, name: &str) -> bool {
        process::search_path().iter().any(|dir| is_executable(&dir.join(name)))
    }

    fn has_file(&self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn has_c_library(&self, file: &str) -> bool {
        let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
        [multiarch.as_str(), "/usr/lib64", "/usr/lib"].iter().any(|dir| Path::new(dir).join(file).exists())
    }

    fn has_component_program(&self, name: &str) -> bool {
        match env::var("RUSTUP_TOOLCHAIN") {
            // What lies in ~/.cargo/bin are rustup's own stand-ins: there even for components that are not installed.
            Ok(toolchain) => {
                toolchain_dirs(&toolchain).iter().any(|dir| is_executable(&dir.join("bin").join(name)))
            }
            Err(_) => self.has_program(name),
        }
    }

    fn can_build_core(&self, toolchain: &str) -> bool {
        toolchain_dirs(toolchain).iter().any(|dir| {
            is_executable(&dir.join("bin/cargo"))
                && is_executable(&dir.join("bin/rustc"))
                && dir.join("lib/rustlib/src/rust/library/core").exists()
        })
    }

    fn can_make_python_environments(&self) -> bool {
        // Not any other Python that may come first in PATH: it is Debian's that Debian's package completes.
        let python = "/usr/bin/python3";
        let ensurepip = process::capture(process::command(python).args(["-Im", "ensurepip", "--version"]));
        ensurepip.is_ok()
    }

    fn version_of(&self, program: &str) -> Option<String> {
        let out = process::capture(process::command(program).arg("--version")).ok()?;
        out.lines().next().map(str::to_owned)
    }
}

/// Where rustup may keep the toolchain: under its bare name, or with this host's triple appended.
fn toolchain_dirs(name: &str) -> Vec<PathBuf> {
    let toolchains = process::rustup_home().join("toolchains");
    let with_host = format!("{name}-{}-unknown-linux-gnu", env::consts::ARCH);
    vec![toolchains.join(name), toolchains.join(with_host)]
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
