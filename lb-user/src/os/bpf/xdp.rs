//! XDP: one program on an interface, by a link (Linux 5.9).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::{Command, bpf, owned};

/// BPF_XDP of enum bpf_attach_type, include/uapi/linux/bpf.h.
const ATTACH_TYPE: u32 = 37;

/// XDP_FLAGS_DRV_MODE, include/uapi/linux/if_link.h: the driver runs the program, before the kernel makes an skb.
const NATIVE: u32 = 1 << 2;

/// Puts a program on an interface, in native mode; the link's end takes it off.
///
/// # Errors
/// When somebody's program is there already (EBUSY or EEXIST), which stays; when the driver cannot, or not with this MTU.
pub fn link_create(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attributes = Attributes {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: interface,
        attach_type: ATTACH_TYPE,
        flags: NATIVE,
    };
    bpf(Command::LinkCreate, &mut attributes).map(owned)
}
