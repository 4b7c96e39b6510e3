//! Programs.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::{Command, bpf, grace::counter, object_info, owned};

/// What a program is for: BPF_PROG_TYPE_SCHED_CLS and BPF_PROG_TYPE_XDP, include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For TC.
    Classifier = 3,
    /// For XDP.
    Xdp = 6,
}

/// BPF_OBJ_NAME_LEN, with the NUL at its end.
const NAME: usize = 16;

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramInfo {
    /// Its id.
    pub(crate) id: u32,
    /// Its name, as far as the kernel keeps it.
    pub(crate) name: String,
}

/// What the kernel says of a program.
pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    /// The beginning of struct bpf_prog_info.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        jited_len: u32,
        xlated_len: u32,
        jited: u64,
        xlated: u64,
        load_time: u64,
        created_by: u32,
        map_count: u32,
        maps: u64,
        name: [u8; NAME],
    }
    let mut info = Info::default();
    object_info(program, &mut info)?;
    let name = info.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(ProgramInfo { id: info.id, name: String::from_utf8_lossy(name).into_owned() })
}

/// Opens a program by its id (CAP_SYS_ADMIN).
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    bpf(Command::ProgGetFdById, &mut Attributes { id, next_id: 0, open_flags: 0 }).map(owned)
}

/// One instruction, struct bpf_insn: what is done with which registers, at which offset and with which number.
pub fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    let ([o0, o1], [n0, n1, n2, n3]) = (offset.to_ne_bytes(), number.to_ne_bytes());
    u64::from_ne_bytes([code, registers, o0, o1, n0, n1, n2, n3])
}

/// Loads a program for packets from its [`instruction`]s. Its name is cut off after 15 bytes.
///
/// # Errors
/// When the kernel refuses.
pub fn program(kind: Kind, name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; NAME],
    }
    let mut prog_name = [0; NAME];
    for (to, from) in prog_name.iter_mut().take(NAME - 1).zip(name.bytes()) {
        *to = from;
    }
    let mut attributes = Attributes {
        prog_type: kind as u32,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    bpf(Command::ProgLoad, &mut attributes).map(owned)
}

/// Loads a program that counts packets and says `verdict` of each, to see where packets go. Beside it the array of one number
/// that it counts in.
///
/// # Errors
/// When the kernel refuses.
pub fn counting(kind: Kind, name: &str, verdict: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let counter = counter()?;
    let instructions = [
        instruction(0x62, 10, 0, -4, 0),                 // *(u32 *)(r10 - 4) = 0
        instruction(0xbf, 2, 10, 0, 0),                  // r2 = r10
        instruction(0x07, 2, 0, 0, -4),                  // r2 -= 4
        instruction(0x18, 1, 1, 0, counter.as_raw_fd()), // r1 = the map
        0,                                               //
        instruction(0x85, 0, 0, 0, 1),                   // r0 = bpf_map_lookup_elem(r1, r2)
        instruction(0x15, 0, 0, 2, 0),                   // if r0 == 0 goto the end
        instruction(0xb7, 1, 0, 0, 1),                   // r1 = 1
        instruction(0xc3, 0, 1, 0, 0),                   // lock *(u32 *)r0 += r1
        instruction(0xb7, 0, 0, 0, verdict),             // the end: r0 = verdict
        instruction(0x95, 0, 0, 0, 0),                   // exit
    ];
    Ok((program(kind, name, &instructions)?, counter))
}
