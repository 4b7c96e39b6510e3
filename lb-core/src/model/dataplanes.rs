use std::fmt;

use super::DataplaneKind;

/// The dataplanes that work on a node at the same time: one, or the one pair that can share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dataplanes {
    /// It alone.
    One(DataplaneKind),
    /// Processes of the node by socket hooks, the rest by packets.
    SocketAndPacket,
}

impl Dataplanes {
    /// Each of them, the first that a connection of the node's own meets in front.
    pub fn kinds(self) -> &'static [DataplaneKind] {
        match self {
            Self::One(DataplaneKind::Socket) => &[DataplaneKind::Socket],
            Self::One(DataplaneKind::Ipvs) => &[DataplaneKind::Ipvs],
            Self::One(DataplaneKind::Packet) => &[DataplaneKind::Packet],
            Self::SocketAndPacket => &[DataplaneKind::Socket, DataplaneKind::Packet],
        }
    }

    /// The one that stands for all where there is room for one name.
    pub fn first(self) -> DataplaneKind {
        match self {
            Self::One(kind) => kind,
            Self::SocketAndPacket => DataplaneKind::Socket,
        }
    }

    /// Whether it is among them.
    pub fn has(self, kind: DataplaneKind) -> bool {
        self.kinds().contains(&kind)
    }
}

impl From<DataplaneKind> for Dataplanes {
    fn from(kind: DataplaneKind) -> Self {
        Self::One(kind)
    }
}

/// `socket`, or `socket and packet`: for people. The config and the flags write a list.
impl fmt::Display for Dataplanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(kind) => kind.fmt(f),
            Self::SocketAndPacket => f.pad("socket and packet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_is_both_and_the_first_stands_for_it() {
        let pair = Dataplanes::SocketAndPacket;
        assert_eq!(pair.kinds(), [DataplaneKind::Socket, DataplaneKind::Packet]);
        assert_eq!(pair.first(), pair.kinds()[0]);
        assert!(pair.has(DataplaneKind::Packet) && !pair.has(DataplaneKind::Ipvs));
        assert_eq!(pair.to_string(), "socket and packet");
        for kind in DataplaneKind::ALL.iter().copied() {
            let one = Dataplanes::from(kind);
            assert_eq!((one.kinds(), one.first()), ([kind].as_slice(), kind));
            assert_eq!(one.to_string(), kind.as_str());
        }
    }
}
