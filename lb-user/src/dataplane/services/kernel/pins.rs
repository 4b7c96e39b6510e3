//! What is pinned, and where.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
    programs::Program,
};

use crate::dataplane::DataplaneError;

/// Where things are pinned.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
}

impl Pins {
    /// Those of a dataplane's layout below `bpffs:` of the config.
    pub fn new(bpffs: &Path, layout: &str) -> Self {
        Self { base: bpffs.join(layout) }
    }

    /// The directory of this layout.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A map's pin.
    pub fn map(&self, name: &str) -> PathBuf {
        self.base.join("maps").join(name.to_ascii_lowercase())
    }

    /// A program's pin.
    pub fn program(&self, name: &str) -> PathBuf {
        self.base.join("programs").join(name)
    }

    /// Where links are pinned.
    pub fn links(&self) -> PathBuf {
        self.base.join("links")
    }

    /// Makes the directories.
    pub fn create(&self) -> Result<(), DataplaneError> {
        for part in ["maps", "programs", "links"] {
            let dir = self.base.join(part);
            fs::create_dir_all(&dir).map_err(DataplaneError::denied(
                "create",
                dir.display().to_string(),
                "CAP_DAC_OVERRIDE",
            ))?;
        }
        Ok(())
    }
}

/// A pinned map's shape, which aya does not check when it reopens a pin.
pub struct Shape {
    /// The name in the object file.
    pub name: &'static str,
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value.
    pub value: usize,
    /// How many elements it has at most.
    pub entries: u32,
}

/// The shape of an array.
pub const fn array<T>(name: &'static str, entries: u32) -> Shape {
    Shape { name, key: 4, value: size_of::<T>(), entries }
}

/// Opens a pinned map and checks that it is the one that we would have made.
pub fn open_map(pins: &Pins, shape: &Shape) -> Result<MapData, DataplaneError> {
    let path = pins.map(shape.name);
    let object = path.display().to_string();
    let map = MapData::from_pin(&path).map_err(DataplaneError::failed("open", object.clone()))?;
    let info = map.info().map_err(DataplaneError::failed("inspect", object.clone()))?;
    let found = (info.key_size() as usize, info.value_size() as usize, info.max_entries());
    if found == (shape.key, shape.value, shape.entries) {
        return Ok(map);
    }
    let what = format!("another program's map is pinned there: key, value, entries are {found:?}");
    Err(DataplaneError::failed("take over", object)(format!("{what}; remove it with `lbctl cleanup`")))
}

/// Opens a pinned hash map, after a check of its shape.
///
/// # Errors
/// When it is missing, or somebody else's.
pub fn open_hash<K: aya::Pod, V: aya::Pod>(
    pins: &Pins,
    shape: &Shape,
) -> Result<HashMap<MapData, K, V>, DataplaneError> {
    let object = format!("map {}", shape.name);
    let map = Map::from_map_data(open_map(pins, shape)?);
    let map = map.map_err(DataplaneError::failed("open", object.clone()))?;
    HashMap::try_from(map).map_err(DataplaneError::failed("open", object))
}

/// Pins a program in place of its predecessor.
pub fn pin_program(ebpf: &mut Ebpf, pins: &Pins, name: &str, pin: &str) -> Result<(), DataplaneError> {
    let (path, fresh) = (pins.program(pin), pins.program(&format!("{pin}_new")));
    let object = path.display().to_string();
    let program: Option<&mut Program> = ebpf.program_mut(name);
    let program = program
        .ok_or_else(|| DataplaneError::failed("find", format!("program {name}"))("not in the object"))?;
    if fresh.exists() {
        fs::remove_file(&fresh).map_err(DataplaneError::failed("remove", fresh.display().to_string()))?;
    }
    program.pin(&fresh).map_err(DataplaneError::failed("pin", object.clone()))?;
    fs::rename(&fresh, &path).map_err(DataplaneError::failed("rename", object))
}
