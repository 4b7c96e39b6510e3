//! Loading the programs and pinning what must outlive the agent.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::MapData,
    programs::{ProgramError, SchedClassifier, Xdp},
};
use lb_common::packet::{
    ClientKey, Flow, LAYOUT_VERSION, MAX_OPENING, MAX_WAYS, MAX_WIRES, NodeKey, Rules, TALLIES, Way, Wire,
};
use rustix::thread::CapabilitySet;

use crate::{
    dataplane::{
        DataplaneError,
        packet::LAYOUT,
        services::{self, Pins, Shape, array, open_map, pin_program},
        tc::{Direction, Program},
    },
    os::{capability, netlink::interfaces::Framing},
};

/// The programs, compiled by the build script.
static PROGRAMS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbctl-packet"));

/// Each program's name in the object file, and the name of its pin.
const NAMES: [(&str, &str); 4] =
    [("lbctl_in", "in"), ("lbctl_out", "out"), ("lbctl_in_l3", "in_l3"), ("lbctl_out_l3", "out_l3")];

/// The program for XDP, and its pin.
const WIRE: (&str, &str) = ("lbctl_wire", "wire");

/// Every pinned map of a fixed size that only this dataplane has.
pub(super) const SHAPES: [Shape; 7] = [
    array::<Way>("WAYS", MAX_WAYS),
    array::<Rules>("RULES", 1),
    array::<u64>("TALLY", TALLIES),
    flows::<u64, Wire>("WIRES", MAX_WIRES),
    array::<u64>("FAST", 1),
    flows::<ClientKey, NodeKey>("OPENING", MAX_OPENING),
    flows::<NodeKey, Flow>("OPENING_FLOWS", MAX_OPENING),
];

/// Those whose size is configured.
pub(super) const fn sized(connections: u32) -> [Shape; 2] {
    [flows::<ClientKey, NodeKey>("OPEN", connections), flows::<NodeKey, Flow>("OPEN_FLOWS", connections)]
}

const fn flows<K, V>(name: &'static str, entries: u32) -> Shape {
    Shape { name, key: size_of::<K>(), value: size_of::<V>(), entries }
}

/// The programs, by where they run.
pub struct Programs {
    pinned: [Program; 4],
    wire: Option<Result<Program, String>>,
}

impl Programs {
    /// The one for XDP, if it was wanted, or why there is none.
    pub fn wire(&self) -> Option<Result<&Program, &str>> {
        self.wire.as_ref().map(|program| program.as_ref().map_err(String::as_str))
    }

    /// The one for a direction of an interface.
    pub fn of(&self, direction: Direction, framing: Framing) -> &Program {
        let [input, output, input_l3, output_l3] = &self.pinned;
        match (direction, framing) {
            (Direction::In, Framing::Ethernet | Framing::Other) => input,
            (Direction::Out, Framing::Ethernet | Framing::Other) => output,
            (Direction::In, Framing::Ip) => input_l3,
            (Direction::Out, Framing::Ip) => output_l3,
        }
    }
}

/// The pins of this layout version below `bpffs:` of the config.
pub fn pins(bpffs: &Path) -> Pins {
    Pins::new(bpffs, &format!("{LAYOUT}{LAYOUT_VERSION}"))
}

/// Loads the programs, with the maps that are pinned already or new ones, and pins them in place of their predecessors. Nothing
/// is attached yet. Gives how many connections the table has room for: a table that is pinned keeps its size. Of the program for
/// XDP, which is loaded if it is wanted, a refusal is no error.
///
/// # Errors
/// When the kernel refuses the programs, or something else is pinned where the maps should be.
pub fn load(pins: &Pins, connections: u32, xdp: bool) -> Result<(Programs, u32), DataplaneError> {
    pins.create()?;
    let connections = room(pins)?.unwrap_or(connections);
    let sized = sized(connections);
    for shape in services::SHAPES.iter().chain(&SHAPES).chain(&sized) {
        if pins.map(shape.name).exists() {
            open_map(pins, shape)?;
        }
    }
    let mut ebpf = load_object(Some(pins), connections)?;
    for (name, pin) in NAMES {
        pin_program(&mut ebpf, pins, name, pin)?;
    }
    let [input, output, input_l3, output_l3] = NAMES.map(|(_, pin)| Program::pinned(&pins.program(pin)));
    let wire = xdp.then(|| load_wire(&mut ebpf, pins).map_err(|error| crate::agent::chain(&error)));
    Ok((Programs { pinned: [input?, output?, input_l3?, output_l3?], wire }, connections))
}

fn load_wire(ebpf: &mut Ebpf, pins: &Pins) -> Result<Program, DataplaneError> {
    let (name, pin) = WIRE;
    let missing = || DataplaneError::failed("load", format!("program {name}"))("not in the object");
    let program = <&mut Xdp>::try_from(ebpf.program_mut(name).ok_or_else(missing)?);
    program.and_then(Xdp::load).map_err(refused(name, PERFMON))?;
    pin_program(ebpf, pins, name, pin)?;
    Program::pinned(&pins.program(pin))
}

/// The size of the table that is pinned.
pub(super) fn room(pins: &Pins) -> Result<Option<u32>, DataplaneError> {
    let path = pins.map("OPEN_FLOWS");
    if !path.exists() {
        return Ok(None);
    }
    let object = path.display().to_string();
    let map = MapData::from_pin(&path).map_err(DataplaneError::failed("open", object.clone()))?;
    let info = map.info().map_err(DataplaneError::failed("inspect", object))?;
    Ok(Some(info.max_entries()))
}

/// Loads the programs and leaves nothing behind.
///
/// # Errors
/// As [`load`].
pub fn try_programs() -> Result<(), DataplaneError> {
    load_object(None, lb_common::packet::DEFAULT_CONNECTIONS).map(drop)
}

fn load_object(pins: Option<&Pins>, connections: u32) -> Result<Ebpf, DataplaneError> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader.map_max_entries("OPEN", connections).map_max_entries("OPEN_FLOWS", connections);
    let sized = sized(connections);
    for shape in services::SHAPES.iter().chain(&SHAPES).chain(&sized) {
        if let Some(pins) = pins {
            loader.map_pin_path(shape.name, pins.map(shape.name));
        }
    }
    let object = "the programs of the packet dataplane";
    let mut ebpf = loader.load(PROGRAMS).map_err(DataplaneError::failed("load", object))?;
    for (name, _) in NAMES {
        let failed = || DataplaneError::failed("load", format!("program {name}"));
        let program = ebpf.program_mut(name).ok_or_else(|| failed()("not in the object"))?;
        let program = <&mut SchedClassifier>::try_from(program);
        program.and_then(SchedClassifier::load).map_err(refused(name, PERFMON_BEFORE))?;
    }
    Ok(ebpf)
}

/// What the program for XDP takes on every kernel.
const PERFMON: &str = "CAP_PERFMON";
/// What those on TC take.
const PERFMON_BEFORE: &str = "CAP_PERFMON (before Linux 6.16)";

/// Tells a missing capability from other failures: without CAP_PERFMON verifiers before Linux 6.16 also follow what only a
/// mispredicted branch could run, and refuse what they find there.
fn refused(name: &str, capability: &'static str) -> impl FnOnce(ProgramError) -> DataplaneError {
    let name = name.to_owned();
    move |error| {
        let denied = match &error {
            ProgramError::LoadError { io_error, .. } => {
                matches!(io_error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::E2BIG))
            }
            _ => false,
        };
        if denied && !capability::has(CapabilitySet::PERFMON) {
            return DataplaneError::Permission { operation: format!("load program {name}"), capability };
        }
        DataplaneError::failed("load", format!("program {name}"))(error)
    }
}
