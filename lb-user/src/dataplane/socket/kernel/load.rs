//! Loading the programs and pinning what must outlive the agent.

use std::{io, time::Duration};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::MapError,
    programs::{CgroupSockAddr, Program, ProgramError, SchedClassifier, SockOps},
};
use aya_log::EbpfLogger;
use lb_common::{
    packet::{ClientKey, Flow, MAX_RESCUED, MAX_WAYS, NodeKey, Rules, TALLIES, Way},
    socket::{Settings, Track},
};
use rustix::{io::Errno, thread::CapabilitySet, time::ClockId};

use super::signals::Signals;

use crate::{
    agent::chain,
    dataplane::{
        DataplaneError,
        services::{self, Pins, Shape, array, open_map, pin_program},
        socket::hook::Hook,
    },
    os::capability,
};

/// The programs, compiled by the build script.
static PROGRAMS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbctl-socket"));
/// The same, with a log. Its code needs CAP_PERFMON before Linux 6.16.
static PROGRAMS_WITH_LOG: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbctl-socket-told"));

/// What the kernel programs log, through aya-log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BpfLog {
    /// Nothing: the programs have no code for it.
    #[default]
    Off,
    /// Every decision.
    Debug,
}

/// What stays in user space of a load.
pub struct Loaded {
    /// Takes the programs' log lines, where logging is on.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Tells what befalls connections.
    pub signals: Signals,
    /// Why connections cannot be sent to another backend; `None`: they can.
    pub no_rescue: Option<String>,
}

/// Every pinned map that only this dataplane has.
pub(super) const SHAPES: [Shape; 2] = [array::<Settings>("SETTINGS", 1), array::<Track>("TRACKS", 0)];

/// Those of the programs that send connections to another backend: ways, rules, tally, and the connections.
pub(in crate::dataplane::socket) const RESCUE_SHAPES: [Shape; 5] = [
    array::<Way>("RESCUE_WAYS", MAX_WAYS),
    array::<Rules>("RESCUE_RULES", 1),
    array::<u64>("RESCUE_TALLY", TALLIES),
    Shape { name: "RESCUED", key: size_of::<ClientKey>(), value: size_of::<NodeKey>(), entries: MAX_RESCUED },
    Shape {
        name: "RESCUED_FLOWS",
        key: size_of::<NodeKey>(),
        value: size_of::<Flow>(),
        entries: MAX_RESCUED,
    },
];

/// Their programs, each with the name of its pin.
pub(in crate::dataplane::socket) const RESCUE_PROGRAMS: [(&str, &str); 4] = [
    ("lbctl_rescue_in", "rescue_in"),
    ("lbctl_rescue_out", "rescue_out"),
    ("lbctl_rescue_in_l3", "rescue_in_l3"),
    ("lbctl_rescue_out_l3", "rescue_out_l3"),
];

/// The program that follows connections and tells those; it takes the place of the one that does not.
const RESCUE_SOCK_OPS: (&str, &str) = ("lbctl_sockops_rescue", "sockops");

/// Every pinned map.
fn shapes() -> impl Iterator<Item = &'static Shape> {
    services::SHAPES.iter().chain(&SHAPES).chain(&RESCUE_SHAPES)
}

/// Loads the programs, with the maps that are pinned already or new ones, and pins them in place of their
/// predecessors. Nothing is attached yet.
pub fn load(pins: &Pins, log: BpfLog, rescue: bool) -> Result<Loaded, DataplaneError> {
    pins.create()?;
    for shape in shapes().filter(|shape| pins.map(shape.name).exists()) {
        open_map(pins, shape)?;
    }
    // Only a try tells whether the kernel has bpf_set_retval: distributions carry it back.
    let mut ebpf = match load_object(Some(pins), log, true) {
        Ok(ebpf) => ebpf,
        Err(first) => {
            tracing::debug!(error = &first as &dyn std::error::Error, "loading without bpf_set_retval");
            load_object(Some(pins), log, false).map_err(|error| refine(error, log))?
        }
    };
    for hook in Hook::ALL {
        pin_program(&mut ebpf, pins, hook.program(), hook.pin())?;
    }
    let logger = match log {
        BpfLog::Off => None,
        BpfLog::Debug => Some(
            EbpfLogger::init(&mut ebpf)
                .map_err(DataplaneError::failed("read", "the kernel programs' log"))?,
        ),
    };
    let no_rescue = if rescue { load_rescue(&mut ebpf, pins).err() } else { None };
    Ok(Loaded { logger, signals: Signals::take(&mut ebpf)?, no_rescue })
}

/// Loads and pins the programs on TC, and the one that follows connections for them. Without them everything else works.
fn load_rescue(ebpf: &mut Ebpf, pins: &Pins) -> Result<(), String> {
    for (name, _) in RESCUE_PROGRAMS.iter().chain([&RESCUE_SOCK_OPS]) {
        let program = ebpf.program_mut(name).ok_or_else(|| format!("program {name} is not in the object"))?;
        let loaded = match program {
            Program::SockOps(program) => program.load(),
            program => <&mut SchedClassifier>::try_from(program).and_then(SchedClassifier::load),
        };
        if let Err(error) = loaded {
            tracing::debug!(name, error = &error as &dyn std::error::Error, "a program was refused");
            return Err(match capability::has(CapabilitySet::PERFMON) {
                true => "the kernel refuses the programs (before Linux 5.10)".to_owned(),
                false => "CAP_PERFMON is missing (before Linux 6.16)".to_owned(),
            });
        }
    }
    for (name, pin) in RESCUE_PROGRAMS.iter().chain([&RESCUE_SOCK_OPS]) {
        pin_program(ebpf, pins, name, pin).map_err(|error| chain(&error))?;
    }
    Ok(())
}

/// How long an unanswered SYN waits, for the first time: as long as data does at least (TCP_RTO_MIN, include/net/tcp.h),
/// instead of a second. The nodes of a cluster are no further from each other, and where they are it is sent once more.
const SYN_TIMEOUT: Duration = Duration::from_millis(200);

/// That in jiffies. The coarse clocks tell in steps of one jiffy, clock_getres(2).
fn syn_jiffies() -> u32 {
    let step = rustix::time::clock_getres(ClockId::MonotonicCoarse);
    match u128::try_from(step.tv_nsec) {
        Ok(nanos) if nanos > 0 => u32::try_from(SYN_TIMEOUT.as_nanos().div_ceil(nanos)).unwrap_or(0),
        Ok(_) | Err(_) => 0,
    }
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("failed to load the object")]
    Object(#[from] EbpfError),
    #[error("failed to load program {0}")]
    Program(Hook, #[source] ProgramError),
    #[error("no program {0} in the object")]
    NoProgram(Hook),
}

/// Loads the programs and leaves nothing behind. Whether the kernel has bpf_set_retval.
///
/// # Errors
/// As [`load`].
pub fn try_programs() -> Result<bool, DataplaneError> {
    if load_object(None, BpfLog::Off, true).is_ok() {
        return Ok(true);
    }
    let loaded = load_object(None, BpfLog::Off, false).map_err(|error| refine(error, BpfLog::Off));
    loaded.map(|_| false)
}

/// Without pins the maps are new ones, and end with what is returned.
fn load_object(pins: Option<&Pins>, log: BpfLog, set_retval: bool) -> Result<Ebpf, LoadError> {
    let object = match log {
        BpfLog::Off => PROGRAMS,
        BpfLog::Debug => PROGRAMS_WITH_LOG,
    };
    let set_retval = u8::from(set_retval);
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS).override_global("HAS_SET_RETVAL", &set_retval, true);
    let syn_jiffies = syn_jiffies();
    loader.override_global("SYN_JIFFIES", &syn_jiffies, true);
    for (pins, shape) in pins.iter().flat_map(|pins| shapes().map(move |shape| (pins, shape))) {
        loader.map_pin_path(shape.name, pins.map(shape.name));
    }
    let mut ebpf = loader.load(object)?;
    for hook in Hook::ALL {
        load_program(&mut ebpf, hook).map_err(|error| match error {
            Some(error) => LoadError::Program(hook, error),
            None => LoadError::NoProgram(hook),
        })?;
    }
    Ok(ebpf)
}

fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<(), Option<ProgramError>> {
    let program = ebpf.program_mut(hook.program()).ok_or(None)?;
    match hook {
        Hook::SockOps => <&mut SockOps>::try_from(program).and_then(SockOps::load),
        Hook::GetPeerName4 | Hook::GetPeerName6 | Hook::Connect4 | Hook::Connect6 => {
            <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load)
        }
    }
    .map_err(Some)
}

/// Tells a missing feature and a missing capability from other failures.
fn refine(error: LoadError, log: BpfLog) -> DataplaneError {
    match (io_cause(&error).and_then(Errno::from_io_error), &error) {
        (Some(Errno::NOSYS | Errno::OPNOTSUPP), _) => DataplaneError::Missing {
            what: "this kernel has no bpf(2)".to_owned(),
            remedy: "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF, or dataplane: ipvs"
                .to_owned(),
        },
        // So the verifier refuses a program.
        (Some(Errno::ACCESS), LoadError::Program(..)) if log == BpfLog::Debug => DataplaneError::Permission {
            operation: "load the kernel programs with their log".to_owned(),
            capability: "CAP_PERFMON (before Linux 6.16)",
        },
        (Some(Errno::PERM), _) | (Some(Errno::ACCESS), LoadError::Object(_)) => DataplaneError::Permission {
            operation: "load the kernel programs".to_owned(),
            capability: "CAP_BPF (or a seccomp profile that allows bpf(2) or, before Linux 5.11, a larger RLIMIT_MEMLOCK)",
        },
        _ => DataplaneError::failed("load", "the kernel programs")(error),
    }
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        if let Some(MapError::SyscallError(error)) = error.downcast_ref::<MapError>() {
            return Some(&error.io_error);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    fn syscall(errno: Errno) -> SyscallError {
        SyscallError { call: "bpf", io_error: io::Error::from_raw_os_error(errno.raw_os_error()) }
    }

    fn refused(errno: Errno) -> DataplaneError {
        let error = EbpfError::MapError(MapError::SyscallError(syscall(errno)));
        refine(LoadError::Object(error), BpfLog::Off)
    }

    #[test]
    fn a_kernel_without_bpf_is_a_lack_with_a_remedy() {
        let error = refused(Errno::NOSYS);
        assert!(
            matches!(&error, DataplaneError::Missing { remedy, .. } if remedy.contains("CONFIG_BPF_SYSCALL"))
        );
    }

    #[test]
    fn a_refusal_names_the_capability() {
        for errno in [Errno::PERM, Errno::ACCESS] {
            let error = refused(errno);
            assert!(
                matches!(error, DataplaneError::Permission { capability, .. } if capability.contains("CAP_BPF"))
            );
        }
    }

    #[test]
    fn a_log_that_the_verifier_refuses_names_the_capability() {
        let refused = || {
            let error = ProgramError::SyscallError(syscall(Errno::ACCESS));
            LoadError::Program(Hook::Connect4, error)
        };
        let error = refine(refused(), BpfLog::Debug);
        assert!(
            matches!(error, DataplaneError::Permission { capability, .. } if capability.contains("CAP_PERFMON"))
        );
        assert!(matches!(refine(refused(), BpfLog::Off), DataplaneError::Failed { .. }));
    }

    #[test]
    fn anything_else_is_a_failure_with_its_cause() {
        let error = refused(Errno::INVAL);
        assert!(matches!(error, DataplaneError::Failed { .. }));
    }
}
