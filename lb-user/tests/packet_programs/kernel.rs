//! The programs in the kernel, run by BPF_PROG_TEST_RUN in a network namespace of the test's own.
//!
//! What the kernel makes of the bytes that it is given (bpf_prog_test_run_skb, net/bpf/test_run.c): there is an Ethernet
//! header in front, which says the protocol and, by its address, whether the frame is for this machine. Of a packet without a
//! link header it takes the same bytes: where the protocol is, IPv4 has the first half of the source address, and IPv6 the
//! third group of it; and an odd first byte (IPv4's header of 20 or 28 bytes, IPv6's traffic class) is a multicast frame, which
//! is for everybody. Hence the addresses in [`super::family`].
#![expect(unsafe_code, reason = "a system call, a namespace, and plain data in maps")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    panic::resume_unwind,
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Array, HashMap, MapData},
    programs::SchedClassifier,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The programs, as the build script leaves them.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbctl-packet"));

const NAMES: [&str; 4] = ["lbctl_in", "lbctl_out", "lbctl_in_l3", "lbctl_out_l3"];

/// Room for connections.
const CONNECTIONS: u32 = 1024;

/// TC_ACT_UNSPEC, TC_ACT_SHOT and TC_ACT_REDIRECT, include/uapi/linux/pkt_cls.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Next,
    Drop,
    Redirect,
    Other(i32),
}

/// An interface of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    Loopback,
    /// Faces a client for whom the node forwards.
    Facing,
    Uplink,
}

impl Interface {
    pub fn mac(self) -> [u8; 6] {
        match self {
            Self::Loopback => [0; 6],
            Self::Facing => [2, 0, 0, 0, 0, 0xa],
            Self::Uplink => [2, 0, 0, 0, 0, 0xb],
        }
    }
}

/// Which program is run where.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    pub outwards: bool,
    pub interface: Interface,
    /// Without a link header.
    pub bare: bool,
    /// The packet came in by some interface, if it goes out.
    pub forwarded: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
}

/// What the kernel is told about the packet, beside its bytes.
#[derive(Clone, Copy, Default)]
pub struct Extra {
    pub segments: u32,
    pub mark: u32,
    /// How often it is run. The bytes are those after the last time.
    pub repeat: u32,
}

pub struct Kernel {
    /// `None` only while it is dropped.
    loaded: Option<Loaded>,
    indices: [u32; 2],
    buffer: Vec<u8>,
    /// [`WITH_SUM`] where the kernel knows it, else 0.
    with_sum: u32,
}

/// The programs, of no network namespace in particular.
struct Loaded {
    ebpf: Ebpf,
    programs: [RawFd; 4],
}

/// Those that no test has: a verifier under emulation takes its time.
static SPARE: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

/// Values that the tests lay into maps and read from them.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Bytes<T>(pub T);

// SAFETY: of lb_common's records only: repr(C), integers only, no padding, any bit pattern is valid.
unsafe impl<T: Copy + 'static> Pod for Bytes<T> {}

/// Runs something in a network namespace that is gone afterwards, with the programs loaded. What their maps hold is whatever.
pub fn within<T: Send>(act: impl FnOnce(Kernel) -> T + Send) -> T {
    let run = || {
        // SAFETY: nothing but the namespace of this thread is changed, which ends with `act`.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        ip("link set lo up");
        ip("link add facing address 02:00:00:00:00:0a type veth peer name uplink address 02:00:00:00:00:0b");
        act(Kernel::new())
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn index(interface: &str) -> u32 {
    let shown = ip(&format!("-o link show dev {interface}"));
    shown.split(':').next().unwrap().parse().unwrap()
}

impl Loaded {
    fn new() -> Self {
        let mut loader = EbpfLoader::new();
        for map in ["OPEN", "OPEN_FLOWS"] {
            loader.map_max_entries(map, CONNECTIONS);
        }
        let mut ebpf = loader.load(OBJECT).unwrap();
        let programs = NAMES.map(|name| {
            let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
            program.fd().unwrap().as_fd().as_raw_fd()
        });
        Self { ebpf, programs }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if !thread::panicking() {
            SPARE.lock().unwrap().extend(self.loaded.take());
        }
    }
}

impl Kernel {
    /// For the namespace of this thread.
    fn new() -> Self {
        let spare = SPARE.lock().unwrap().pop();
        let loaded = Some(spare.unwrap_or_else(Loaded::new));
        let indices = ["facing", "uplink"].map(index);
        let mut kernel = Self { loaded, indices, buffer: vec![0; 8192], with_sum: WITH_SUM };
        let out = Hook { outwards: true, interface: Interface::Uplink, bare: false, forwarded: false };
        if kernel.run_as(out, &[0; 64], Extra::default()).is_err() {
            kernel.with_sum = 0;
        }
        kernel
    }

    fn loaded(&mut self) -> &mut Loaded {
        self.loaded.as_mut().unwrap()
    }

    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.loaded().ebpf
    }

    pub fn index(&self, interface: Interface) -> u32 {
        match interface {
            Interface::Loopback => 1,
            Interface::Facing => self.indices[0],
            Interface::Uplink => self.indices[1],
        }
    }

    pub fn array<T: Copy + 'static>(&mut self, name: &str) -> Array<&mut MapData, Bytes<T>> {
        Array::try_from(self.loaded().ebpf.map_mut(name).unwrap()).unwrap()
    }

    pub fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        HashMap::try_from(self.loaded().ebpf.map_mut(name).unwrap()).unwrap()
    }

    pub fn run(&mut self, hook: Hook, packet: &[u8]) -> Outcome {
        let (outcome, _) = self.run_as(hook, packet, Extra::default()).unwrap();
        outcome
    }

    /// Runs a program. The duration is that of one run.
    ///
    /// # Errors
    /// When the kernel refuses the packet.
    pub fn run_as(&mut self, hook: Hook, packet: &[u8], extra: Extra) -> io::Result<(Outcome, Duration)> {
        let program = self.loaded().programs[usize::from(hook.outwards) + 2 * usize::from(hook.bare)];
        let ingress = match (hook.outwards, hook.forwarded) {
            (false, _) => self.index(hook.interface),
            (true, true) => self.index(Interface::Facing),
            (true, false) => 0,
        };
        let context = Context {
            mark: extra.mark,
            ingress_ifindex: ingress,
            ifindex: self.index(hook.interface),
            gso_segs: extra.segments,
            gso_size: if extra.segments > 1 { 1400 } else { 0 },
            ..Context::default()
        };
        let mut attributes = Attributes {
            program: program as u32,
            data_size_in: packet.len() as u32,
            data_size_out: self.buffer.len() as u32,
            data_in: packet.as_ptr() as u64,
            data_out: self.buffer.as_mut_ptr() as u64,
            repeat: extra.repeat.max(1),
            ctx_size_in: size_of::<Context>() as u32,
            ctx_in: std::ptr::from_ref(&context) as u64,
            // Of a packet without a link header the kernel would sum up the wrong part; and one sum is for one run.
            flags: if hook.bare || extra.repeat > 1 { 0 } else { self.with_sum },
            ..Attributes::default()
        };
        run(&mut attributes)?;
        let verdict = match attributes.retval as i32 {
            -1 => Verdict::Next,
            2 => Verdict::Drop,
            7 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        let bytes = self.buffer[..attributes.data_size_out as usize].to_vec();
        Ok((Outcome { verdict, bytes }, Duration::from_nanos(u64::from(attributes.duration))))
    }
}

/// BPF_F_TEST_SKB_CHECKSUM_COMPLETE, include/uapi/linux/bpf.h (Linux 6.11): the packet comes with a sum of all its bytes, as from
/// a network card, and what the program makes of the sum is compared with the bytes (EBADMSG).
const WITH_SUM: u32 = 1 << 2;

pub fn run(attributes: &mut Attributes) -> io::Result<()> {
    /// BPF_PROG_TEST_RUN, include/uapi/linux/bpf.h.
    const TEST_RUN: libc::c_int = 10;
    // SAFETY: the structure has the size that is told, and what it points to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, TEST_RUN, &raw mut *attributes, size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The part of union bpf_attr that is for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
pub struct Attributes {
    pub program: u32,
    pub retval: u32,
    pub data_size_in: u32,
    pub data_size_out: u32,
    pub data_in: u64,
    pub data_out: u64,
    pub repeat: u32,
    pub duration: u32,
    pub ctx_size_in: u32,
    pub ctx_size_out: u32,
    pub ctx_in: u64,
    pub ctx_out: u64,
    pub flags: u32,
    pub cpu: u32,
    pub batch_size: u32,
    pub padding: u32,
}

/// struct __sk_buff; only some of it may be told.
#[repr(C)]
#[derive(Default)]
struct Context {
    len_and_type: [u32; 2],
    mark: u32,
    queue_mapping_to_vlan_proto: [u32; 5],
    priority: u32,
    ingress_ifindex: u32,
    ifindex: u32,
    tc_index: u32,
    cb: [u32; 5],
    hash_to_data_meta: [u32; 19],
    flow_keys: u64,
    tstamp: u64,
    wire_len: u32,
    gso_segs: u32,
    sk: u64,
    gso_size: u32,
    tstamp_type: u32,
    hwtstamp: u64,
}
