use std::fmt;

/// Which packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Those that come in by it.
    In,
    /// Those that leave by it.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

/// Where a program hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The interface's number.
    pub interface: u32,
    /// Which of its packets.
    pub direction: Direction,
}

impl Place {
    /// The name of what is pinned for it. bpffs allows no dots.
    pub fn pin(self) -> String {
        format!("{}_{}", self.interface, self.direction)
    }

    /// The place that a pin is for.
    pub fn of_pin(name: &str) -> Option<Self> {
        let (interface, direction) = name.split_once('_')?;
        let direction = Direction::ALL.into_iter().find(|known| known.to_string() == direction)?;
        Some(Self { interface: interface.parse().ok().filter(|number| *number > 0)?, direction })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface {}, {}", self.interface, self.direction)
    }
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// By links, which outlive the agent by being pinned (Linux 6.6).
    Tcx,
    /// By filters of the qdisc clsact, which belong to the interface.
    Clsact,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// Whose programs they are: both may hang on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The packet dataplane's.
    Packet,
    /// Those that send connections of the socket dataplane to another backend before they are answered.
    Rescue,
}

impl Owner {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Packet, Self::Rescue];

    /// What a filter is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packet => "lbctl-packet",
            Self::Rescue => "lbctl-rescue",
        }
    }

    /// The handle of a filter. The kernel itself gives 1, 2 and so on.
    pub fn handle(self) -> u32 {
        match self {
            Self::Packet => 0x6c62_0001,
            Self::Rescue => 0x6c62_0002,
        }
    }
}

/// Somebody else's program or filter beside ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Where.
    pub place: Place,
    /// What it is.
    pub title: Title,
    /// Whether it runs before ours: what it does not pass on, ours does not see.
    pub before: bool,
}

/// What a foreign program or filter is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Title {
    /// A TCX program.
    Tcx {
        /// Its id.
        id: u32,
        /// Its name, if it may be known (CAP_SYS_ADMIN).
        name: Option<String>,
    },
    /// A filter of tc(8).
    Filter {
        /// bpf, flower, u32 and so on.
        kind: String,
        /// In this order they run.
        priority: u16,
        /// The name of a bpf filter.
        name: Option<String>,
    },
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |name: &Option<String>| name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        match self {
            Self::Tcx { id, name: called } => write!(f, "TCX program {id}{}", name(called)),
            Self::Filter { kind, priority, name: called } => {
                write!(f, "tc filter {kind} of priority {priority}{}", name(called))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_its_pin_and_other_names_are_none() {
        for place in [
            Place { interface: 1, direction: Direction::In },
            Place { interface: u32::MAX, direction: Direction::Out },
        ] {
            assert_eq!(Place::of_pin(&place.pin()), Some(place));
        }
        for other in ["", "1", "_in", "0_in", "1_on", "x_in", "1_in_new", "-1_in"] {
            assert_eq!(Place::of_pin(other), None, "{other}");
        }
    }

    #[test]
    fn a_foreign_program_is_named_as_far_as_it_is_known() {
        let name = Some("cil_from_netdev".to_owned());
        assert_eq!(Title::Tcx { id: 7, name: name.clone() }.to_string(), "TCX program 7 (cil_from_netdev)");
        assert_eq!(Title::Tcx { id: 7, name: None }.to_string(), "TCX program 7");
        let filter = Title::Filter { kind: "bpf".to_owned(), priority: 1, name };
        assert_eq!(filter.to_string(), "tc filter bpf of priority 1 (cil_from_netdev)");
    }
}
