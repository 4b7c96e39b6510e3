//! The file as serde reads it: every field optional, scalars as they are written, nothing judged yet.
//!
//! Scalars are kept as text, so that one pass of validation can say about all of them what is wrong.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawConfig {
    pub(super) dataplane: Option<OneOrMany>,
    pub(super) rescue: Option<String>,
    pub(super) packet: Option<RawPacket>,
    pub(super) scope: Option<String>,
    pub(super) cgroup: Option<String>,
    pub(super) bpffs: Option<String>,
    pub(super) state_dir: Option<String>,
    pub(super) hosts: Option<RawHosts>,
    pub(super) admin: Option<RawAdmin>,
    pub(super) metrics: Option<RawMetrics>,
    pub(super) services: Option<Vec<RawService>>,
}

/// `packet:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawPacket {
    pub(super) interfaces: Option<OneOrMany>,
    pub(super) xdp: Option<OneOrMany>,
    pub(super) connections: Option<Number>,
    pub(super) masquerade: Option<bool>,
    pub(super) shortcut: Option<String>,
}

/// A word, or a list of words.
#[derive(Clone, Debug)]
pub(super) enum OneOrMany {
    /// `socket`
    One(String),
    /// `[socket, packet]`
    Many(Vec<String>),
}

/// `hosts:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawHosts {
    pub(super) path: Option<String>,
    pub(super) manage: Option<bool>,
}

/// `admin:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawAdmin {
    pub(super) socket: Option<String>,
}

/// `metrics:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawMetrics {
    pub(super) listen: Option<String>,
}

/// An element of `services:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawService {
    pub(super) name: Option<String>,
    pub(super) vip: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) prefer: Option<String>,
    pub(super) backends: Option<Vec<RawBackend>>,
    pub(super) discovery: Option<RawDiscovery>,
    pub(super) health: Option<RawHealth>,
    pub(super) dead_after: Option<String>,
    pub(super) slow_start: Option<String>,
    pub(super) rebalance: Option<RawRebalance>,
    pub(super) on_down: Option<String>,
    pub(super) on_all_down: Option<String>,
}

/// `rebalance:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawRebalance {
    pub(super) per_minute: Option<Number>,
}

/// `discovery:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawDiscovery {
    pub(super) kubernetes: Option<RawKubernetes>,
}

/// `discovery.kubernetes:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawKubernetes {
    pub(super) kubeconfig: Option<String>,
    pub(super) interval: Option<String>,
}

/// `health:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawHealth {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) path: Option<String>,
    pub(super) expect: Option<Vec<Number>>,
    pub(super) ca: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) interval: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) fall: Option<Number>,
    pub(super) rise: Option<Number>,
    pub(super) heartbeat: Option<String>,
    /// This and what follows only a command line can say.
    #[serde(skip)]
    pub(super) method: Option<String>,
    #[serde(skip)]
    pub(super) headers: Option<Vec<(String, String)>>,
    #[serde(skip)]
    pub(super) body: Option<String>,
}

/// An element of `backends:`, an address or a mapping.
#[derive(Clone, Debug)]
pub(super) enum RawBackend {
    /// `192.168.0.2:6443`
    Address(String),
    /// `{address: "192.168.0.2:6443", weight: 2}`
    Full(RawFullBackend),
}

/// An element of `backends:` that is a mapping.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct RawFullBackend {
    pub(super) address: Option<String>,
    pub(super) weight: Option<Number>,
}

/// A whole number of any size: its range is checked later, where the field is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) i128);

impl<'de> Deserialize<'de> for RawBackend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BackendVisitor)
    }
}

struct BackendVisitor;

impl<'de> Visitor<'de> for BackendVisitor {
    type Value = RawBackend;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as 192.168.0.2:6443, or {address, weight}")
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<RawBackend, E> {
        Ok(RawBackend::Address(address.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawBackend, A::Error> {
        RawFullBackend::deserialize(MapAccessDeserializer::new(map)).map(RawBackend::Full)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word, or a list of words")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(word.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number.into()))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Number, E> {
        Ok(Number(number))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Number, E> {
        // What does not fit is out of every field's range in any case.
        Ok(Number(i128::try_from(number).unwrap_or(i128::MAX)))
    }
}
