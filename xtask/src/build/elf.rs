//! What an ELF file needs from the host before it can run.

use anyhow::{Context as _, Result};
use object::{
    Endianness, elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// The parts of an ELF file that tie it to other files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Linkage {
    /// It names a dynamic loader (PT_INTERP).
    has_interpreter: bool,
    /// How many shared libraries it names (DT_NEEDED).
    libraries: usize,
}

impl Linkage {
    /// Why the file is not static, or None when it is.
    pub(crate) fn objection(&self) -> Option<String> {
        match (self.has_interpreter, self.libraries) {
            (false, 0) => None,
            (true, count) => Some(format!("it names a dynamic loader and {count} shared libraries")),
            (false, count) => Some(format!("it names {count} shared libraries")),
        }
    }
}

/// Reads the linkage of a 64-bit ELF file.
///
/// # Errors
/// When `image` is no such file or is damaged.
pub(crate) fn linkage(image: &[u8]) -> Result<Linkage> {
    let header = elf::FileHeader64::<Endianness>::parse(image).context("failed to read the ELF header")?;
    let endian = header.endian().context("failed to read the byte order")?;
    let segments = header.program_headers(endian, image).context("failed to read the program headers")?;
    let mut linkage = Linkage { has_interpreter: false, libraries: 0 };
    for segment in segments {
        linkage.has_interpreter |= segment.p_type(endian) == elf::PT_INTERP;
        if let Some(entries) = segment.dynamic(endian, image).context("failed to read the dynamic section")? {
            linkage.libraries +=
                entries.iter().filter(|entry| entry.d_tag.get(endian) == elf::DT_NEEDED).count();
        }
    }
    Ok(linkage)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 64;
    const SEGMENT: usize = 56;

    /// A little-endian 64-bit executable with an optional PT_INTERP and a PT_DYNAMIC of these tags.
    fn executable(has_interpreter: bool, tags: &[u64]) -> Vec<u8> {
        let dynamic_offset = (HEADER + 2 * SEGMENT) as u64;
        let mut image = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        image.extend([3, 0, 62, 0, 1, 0, 0, 0]); // type, machine, version
        image.extend(0u64.to_le_bytes()); // entry
        image.extend((HEADER as u64).to_le_bytes()); // program headers
        image.extend(0u64.to_le_bytes()); // section headers
        image.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
        let dynamic_size = (tags.len() * 16) as u64;
        let first = if has_interpreter { elf::PT_INTERP } else { elf::PT_LOAD };
        for (kind, size) in [(first, 0), (elf::PT_DYNAMIC, dynamic_size)] {
            image.extend(kind.to_le_bytes());
            image.extend(0u32.to_le_bytes()); // flags
            for word in [dynamic_offset, 0, 0, size, size, 8] {
                image.extend(word.to_le_bytes());
            }
        }
        for tag in tags {
            image.extend(tag.to_le_bytes());
            image.extend(0u64.to_le_bytes());
        }
        image
    }

    #[test]
    fn a_file_is_static_only_without_a_loader_and_without_libraries() {
        let needed = elf::DT_NEEDED as u64;
        for (has_interpreter, tags, objection) in [
            (false, vec![], None),
            // A static position-independent executable has a dynamic section all the same.
            (false, vec![elf::DT_FLAGS as u64, 0], None),
            (true, vec![0], Some("it names a dynamic loader and 0 shared libraries")),
            (true, vec![needed, needed, 0], Some("it names a dynamic loader and 2 shared libraries")),
            (false, vec![needed, 0], Some("it names 1 shared libraries")),
        ] {
            let linkage = linkage(&executable(has_interpreter, &tags)).unwrap();
            assert_eq!(linkage.objection().as_deref(), objection, "{has_interpreter} {tags:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_rather_than_static() {
        let whole = executable(true, &[elf::DT_NEEDED as u64, 0]);
        for damaged in
            [&[][..], b"#!/bin/sh\n", &whole[..40], &whole[..HEADER + 10], &whole[..whole.len() - 1]]
        {
            assert!(linkage(damaged).is_err(), "{} bytes", damaged.len());
        }
    }

    #[test]
    fn the_test_program_itself_is_recognised_as_linked_to_shared_libraries() {
        let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let is_static = cfg!(target_feature = "crt-static");
        assert_eq!(linkage(&image).unwrap().objection().is_none(), is_static);
    }
}
