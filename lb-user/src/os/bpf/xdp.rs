//! XDP: one program on an interface, by a link (Linux 5.9).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::{Command, bpf, owned};

/// BPF_XDP of enum bpf_attach_type, include/uapi/linux/bpf.h.
const ATTACH_TYPE: u32 = 37;

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel, of an skb that it has made: XDP_FLAGS_SKB_MODE, include/uapi/linux/if_link.h.
    Generic,
    /// The driver, before there is one: XDP_FLAGS_DRV_MODE.
    Native,
}

/// Puts a program on an interface; the link's end takes it off.
///
/// # Errors
/// When somebody's program is there already (EBUSY or EEXIST), which stays; when the driver cannot, or not with this MTU.
pub fn link_create(program: BorrowedFd<'_>, interface: u32, mode: Mode) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = match mode {
        Mode::Generic => 1 << 1,
        Mode::Native => 1 << 2,
    };
    let mut attributes = Attributes {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: interface,
        attach_type: ATTACH_TYPE,
        flags,
    };
    bpf(Command::LinkCreate, &mut attributes).map(owned)
}
