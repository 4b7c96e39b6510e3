use std::{fmt, time::Duration};

use super::{
    address::AddressError,
    duration::{ConfigDuration, DurationError},
    error::Position,
    load::MAX_FILE_BYTES,
    position::{MAX_DEPTH, MAX_KEY, MAX_VALUES},
};
use crate::model::{DataplaneKind, NameError, PatternError};

/// What can be wrong with a configuration. `Display` says what is; [`Problem::hint`] says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named for what they hold")]
pub enum Problem {
    /// Not YAML.
    #[error("{detail}")]
    Syntax { detail: String },
    /// Larger than any config is.
    #[error("the file has {bytes} bytes, at most {MAX_FILE_BYTES} are read")]
    FileTooLarge { bytes: usize },
    /// Nested deeper than any config is.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// More values than any config has.
    #[error("more than {MAX_VALUES} values in one file")]
    TooManyValues,
    /// A second `---`.
    #[error("more than one YAML document in one file")]
    ManyDocuments,
    /// YAML that a config must not use.
    #[error("{0} are not supported in this file")]
    YamlFeature(YamlFeature),
    /// A mapping, a sequence, or a very long text as the name of a field.
    #[error("the name of a field must be a text of at most {MAX_KEY} bytes")]
    KeyNotText,
    /// The same field twice in one mapping.
    #[error("given twice, first at {first}")]
    DuplicateField { first: Position },
    /// A field that does not exist here.
    #[error("unknown field")]
    UnknownField { known: &'static [&'static str], meant: Option<&'static str> },
    /// Text where a number should be, and the like.
    #[error("{detail}")]
    WrongType { detail: String },

    /// A field without which there is no sense.
    #[error("missing")]
    Missing { example: &'static str },
    /// An empty list, or none.
    #[error("no service")]
    NoServices,
    /// An empty list, or none.
    #[error("no backend")]
    NoBackends,
    /// An empty list.
    #[error("no status code")]
    NoStatusCodes,
    /// An empty list.
    #[error("no dataplane")]
    NoDataplane,
    /// An empty list.
    #[error("no interface")]
    NoInterfaces { otherwise: &'static str },
    /// A word where a list of names should be.
    #[error("{text:?} is neither {otherwise} nor a list")]
    NotAList { text: String, otherwise: &'static str },
    /// Two dataplanes of which each does the whole work.
    #[error("{dataplane} and {other} cannot work on one node: both would take the same {}", claimed(*dataplane, *other))]
    NotTogether { dataplane: DataplaneKind, other: DataplaneKind },
    /// A bad name of an interface.
    #[error(transparent)]
    Interface(#[from] PatternError),
    /// More elements than there is room for.
    #[error("{count} {what}, at most {limit} are possible")]
    TooMany { what: &'static str, count: usize, limit: usize },
    /// Text that is none of the choices.
    #[error("{text:?} is none of {}", choices.join(", "))]
    NotAChoice { text: String, choices: Vec<&'static str> },
    /// A number out of range.
    #[error("{number} is not in {min} to {max}")]
    OutOfRange { number: i128, min: u32, max: u32 },
    /// A bad service or host name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A host name that would be read as an address.
    #[error("{text:?} ends in a number, so it would be taken for an IP address")]
    NumericHostname { text: String },
    /// A host name that means this very node.
    #[error("{text:?} is this node itself on every host")]
    LocalHostname { text: String },
    /// A certificate's name that is neither a DNS name nor an address.
    #[error("{text:?} is neither auto, nor a DNS name, nor an IP address")]
    ServerName { text: String },
    /// A bad address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A value that must be unique, taken by an earlier one.
    #[error("{value} is already taken by {first}")]
    Taken { value: String, first: String },
    /// A value twice in one list.
    #[error("{value} is listed twice")]
    Repeated { value: String },
    /// A backend that is a virtual address.
    #[error("backend {address} is the VIP of {service}: connections would run in a circle")]
    BackendIsVip { address: String, service: String },
    /// IPv4 and IPv6 in one service.
    #[error("{backend} is not of the family of the VIP {vip}")]
    MixedFamilies { backend: String, vip: String },

    /// A bad duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A duration of nothing.
    #[error("must be longer than 0s")]
    ZeroDuration { off: bool },
    /// A duration beyond any sense.
    #[error("{} is longer than {}", shown(given), shown(max))]
    TooLong { given: Duration, max: Duration },
    /// A probe that would outlast the next.
    #[error("timeout {} is longer than interval {}", shown(timeout), shown(interval))]
    TimeoutAboveInterval { timeout: Duration, interval: Duration },
    /// A verdict before a probe can end.
    #[error("{} is shorter than timeout {}", shown(dead_after), shown(timeout))]
    DeadAfterBelowTimeout { dead_after: Duration, timeout: Duration },
    /// A field that says nothing about this kind of check.
    #[error("makes no sense with type {kind}")]
    NotForType { kind: &'static str },
    /// A request path without a `/`, or with characters that a request line cannot carry.
    #[error("{text:?} is not a request path")]
    RequestPath { text: String },
    /// A request method that is none, or that asks for a tunnel.
    #[error("{text:?} is not a method that a probe can use")]
    RequestMethod { text: String },
    /// A header without a proper name.
    #[error("{name:?} is not the name of a header")]
    HeaderName { name: String },
    /// A header with what no header can carry.
    #[error("the value of {name} has characters that a header cannot carry")]
    HeaderValue { name: String },
    /// A header that only the connection can set.
    #[error("{name} is a header of the connection itself")]
    ConnectionHeader { name: String },

    /// A path that depends on where the agent is started, or none at all.
    #[error("{text:?} is not an absolute path")]
    NotAbsolute { text: String, or: &'static str },
    /// A path with a NUL byte, which no system call can take.
    #[error("the path contains a NUL byte")]
    NulInPath,
    /// A name that bpffs refuses.
    #[error("{name:?} has a dot, and names in a BPF file system must not contain dots")]
    DotInBpffs { name: String },
    /// A socket path beyond `sun_path`.
    #[error("the path has {bytes} bytes, a unix socket's has at most {max}")]
    SocketPathTooLong { bytes: usize, max: usize },

    /// Flags for one service, and a file with several.
    #[error("describes one service, but the config file has {services}")]
    WhichService { services: usize },
}

/// YAML that a config must not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YamlFeature {
    /// `*name`
    Alias,
    /// `&name`
    Anchor,
    /// `!name`
    Tag,
}

impl fmt::Display for YamlFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alias => "aliases (*name)",
            Self::Anchor => "anchors (&name)",
            Self::Tag => "tags (!name)",
        })
    }
}

fn shown(duration: &Duration) -> ConfigDuration {
    ConfigDuration::from(*duration)
}

/// What two dataplanes that cannot work together both claim.
fn claimed(one: DataplaneKind, other: DataplaneKind) -> &'static str {
    if one == DataplaneKind::Packet || other == DataplaneKind::Packet { "packets" } else { "connections" }
}

impl Problem {
    /// What to do about it, where there is a remedy beyond what the message says.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::UnknownField { meant: Some(meant), .. } => format!("did you mean {meant}?"),
            Self::UnknownField { known, meant: None } => format!("known here: {}", known.join(", ")),
            Self::Missing { example } => format!("write for example {example}"),
            Self::YamlFeature(YamlFeature::Alias | YamlFeature::Anchor) => "write the value out".to_owned(),
            Self::YamlFeature(YamlFeature::Tag) => "quote the value if it begins with !".to_owned(),
            Self::NoServices => "list one under services, or give --vip and --backend".to_owned(),
            Self::NoBackends => "list at least one address, such as 192.168.0.2:6443".to_owned(),
            Self::NoStatusCodes => "list the codes that mean ready, such as [200]".to_owned(),
            Self::NoDataplane => "write auto, one of them, or [socket, packet]".to_owned(),
            Self::NoInterfaces { otherwise } => {
                format!("write {otherwise}, or list names and patterns, such as [eth0, veth*]")
            }
            Self::NotAList { text, .. } => format!("write [{text}]"),
            Self::NotTogether { .. } => "name one of them; only [socket, packet] is a pair".to_owned(),
            Self::LocalHostname { .. } => {
                "use a name of the cluster's own, such as apiserver.cluster.local".to_owned()
            }
            Self::Address(error) => return error.hint(),
            Self::MixedFamilies { .. } => "make one service for IPv4 and one for IPv6".to_owned(),
            Self::Duration(error) => error.hint(),
            Self::ZeroDuration { off: true } => "write off to switch it off".to_owned(),
            Self::TimeoutAboveInterval { .. } => {
                "a probe must end before the next begins: set both".to_owned()
            }
            Self::NotForType { .. } => "remove it, or change the type".to_owned(),
            Self::RequestPath { .. } => "it begins with / and has no spaces, such as /readyz".to_owned(),
            Self::NotAbsolute { or: "", .. } => "begin it with /".to_owned(),
            Self::NotAbsolute { or, .. } => format!("write {or}, or a path that begins with /"),
            Self::SocketPathTooLong { .. } => "use a shorter directory, such as /run/lbctl".to_owned(),
            Self::WhichService { .. } => "change the service in the file".to_owned(),
            Self::Syntax { .. }
            | Self::FileTooLarge { .. }
            | Self::TooDeep
            | Self::TooManyValues
            | Self::ManyDocuments
            | Self::KeyNotText
            | Self::DuplicateField { .. }
            | Self::WrongType { .. }
            | Self::TooMany { .. }
            | Self::NotAChoice { .. }
            | Self::OutOfRange { .. }
            | Self::Name(_)
            | Self::Interface(_)
            | Self::NumericHostname { .. }
            | Self::ServerName { .. }
            | Self::Taken { .. }
            | Self::Repeated { .. }
            | Self::BackendIsVip { .. }
            | Self::ZeroDuration { off: false }
            | Self::TooLong { .. }
            | Self::DeadAfterBelowTimeout { .. }
            | Self::NulInPath
            | Self::RequestMethod { .. }
            | Self::HeaderName { .. }
            | Self::HeaderValue { .. }
            | Self::ConnectionHeader { .. }
            | Self::DotInBpffs { .. } => return None,
        };
        Some(text)
    }
}
