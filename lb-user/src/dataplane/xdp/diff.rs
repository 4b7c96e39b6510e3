use std::collections::BTreeMap;

use crate::dataplane::tc::Hung;

/// One step towards what should be, on the interface of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The program begins to run.
    Attach(u32),
    /// Another program takes over, without a gap.
    Update(u32),
    /// Nothing runs any more, and what is left of it goes.
    Detach(u32),
}

impl Change {
    /// The interface.
    pub fn interface(self) -> u32 {
        let (Self::Attach(interface) | Self::Update(interface) | Self::Detach(interface)) = self;
        interface
    }
}

/// The steps from what is to what should be: the id of the program on each interface.
pub fn diff(observed: &BTreeMap<u32, Hung>, wanted: &BTreeMap<u32, u32>) -> Vec<Change> {
    let gone = observed.keys().filter(|interface| !wanted.contains_key(interface));
    let gone = gone.map(|interface| Change::Detach(*interface));
    let others = wanted.iter().filter_map(|(interface, id)| match observed.get(interface) {
        Some(Hung::Program(found)) if found == id => None,
        Some(Hung::Program(_)) => Some(Change::Update(*interface)),
        Some(Hung::Nothing) | None => Some(Change::Attach(*interface)),
    });
    gone.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_what_is_old_is_updated_and_what_is_not_wanted_goes() {
        let observed = BTreeMap::from([
            (1, Hung::Program(7)),
            (2, Hung::Program(5)),
            (3, Hung::Nothing),
            (4, Hung::Program(7)),
            (5, Hung::Nothing),
        ]);
        let wanted = BTreeMap::from([(1, 7), (2, 7), (3, 7), (6, 7)]);
        let expected =
            [Change::Detach(4), Change::Detach(5), Change::Update(2), Change::Attach(3), Change::Attach(6)];
        assert_eq!(diff(&observed, &wanted), expected);
        let reached = wanted.iter().map(|(interface, id)| (*interface, Hung::Program(*id))).collect();
        assert_eq!(diff(&reached, &wanted), []);
    }
}
