//! The kernels that a virtual machine can run, as data.

use anyhow::{Result, bail};

/// A kernel of Debian's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Major and minor version, as named on the command line.
    pub(crate) version: &'static str,
    /// The suite of Debian that has it.
    pub(crate) suite: &'static str,
    /// The package that depends on the newest build of it.
    pub(crate) package: &'static str,
    /// The processor that qemu is to emulate.
    pub(crate) processor: &'static str,
}

/// Everything that qemu can emulate.
const WHOLE_PROCESSOR: &str = "max";
/// qemu 7.2 emulates cmpxchg16b in a way that corrupts the memory of kernels whose slab allocator uses it.
const WITHOUT_CMPXCHG16B: &str = "max,-cx16";

/// All of them, oldest first.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { version: "5.10", suite: "bullseye", package: "linux-image-amd64", processor: WHOLE_PROCESSOR },
    Kernel { version: "6.1", suite: "bookworm", package: "linux-image-amd64", processor: WHOLE_PROCESSOR },
    Kernel {
        version: "6.12",
        suite: "bookworm-backports",
        package: "linux-image-amd64",
        processor: WITHOUT_CMPXCHG16B,
    },
];

/// The kernel of this version.
///
/// # Errors
/// When there is none: names those that there are.
pub(crate) fn named(version: &str) -> Result<&'static Kernel> {
    let Some(kernel) = KERNELS.iter().find(|kernel| kernel.version == version) else {
        let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.version).collect();
        bail!("failed to find a kernel {version}: known are {}", known.join(", "));
    };
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_by_its_version_and_an_unknown_one_names_the_known_ones() {
        assert_eq!(named("6.1").unwrap().suite, "bookworm");
        let error = named("6").unwrap_err().to_string();
        assert!(error.contains("known are 5.10, 6.1, 6.12"), "{error}");
    }
}
