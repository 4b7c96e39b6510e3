//! The operating system: files, namespaces, cgroups, netlink. Together with the dataplanes' kernel modules the only
//! home of `unsafe` and libc.

pub mod addresses;
pub mod alarm;
pub mod bpf;
pub mod bpffs;
pub mod capability;
pub mod cgroup;
pub mod hosts;
pub mod lock;
pub mod module;
pub mod mountinfo;
pub mod netlink;
pub mod netns;
pub mod node;
pub mod process;
pub mod sockdiag;
pub mod source_port;
pub mod state_file;
pub mod supervisor;
