use std::{cmp::Reverse, collections::BTreeMap};

use super::place::Place;

/// What was found at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hung {
    /// The program with this id runs.
    Program(u32),
    /// Nothing runs, though it once did: the interface is gone, or another has its number.
    Nothing,
}

/// One step towards what should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The program of a place begins to run.
    Attach(Place),
    /// Another program takes over, without a gap.
    Update(Place),
    /// Nothing runs any more, and what is left of it goes.
    Detach(Place),
}

/// The steps from what is to what should be: the id of the program at each place. What is there is updated first; then
/// one interface after the other gets its programs, those that were there first before others. What leaves by an
/// interface is followed before what comes in begins to be changed, and the other way round at the end.
pub fn diff(observed: &BTreeMap<Place, Hung>, wanted: &BTreeMap<Place, u32>) -> Vec<Change> {
    let mut missing: Vec<_> = wanted
        .keys()
        .filter(|place| !matches!(observed.get(place), Some(Hung::Program(_))))
        .copied()
        .collect();
    missing.sort_by_key(|place| (place.interface, Reverse(place.direction)));
    let old = wanted
        .iter()
        .filter(|(place, id)| matches!(observed.get(place), Some(Hung::Program(found)) if found != *id));
    let gone = observed.keys().filter(|place| !wanted.contains_key(place)).copied();
    let updates = old.map(|(place, _)| Change::Update(*place));
    let attaches = missing.into_iter().map(Change::Attach);
    updates.chain(attaches).chain(gone.map(Change::Detach)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::place::Direction, *};

    fn place(interface: u32, direction: Direction) -> Place {
        Place { interface, direction }
    }

    #[test]
    fn what_is_missing_comes_what_is_old_is_updated_and_what_is_not_wanted_goes() {
        use Direction::{In, Out};
        let observed = BTreeMap::from([
            (place(1, In), Hung::Program(7)),
            (place(1, Out), Hung::Program(5)),
            (place(2, In), Hung::Nothing),
            (place(3, In), Hung::Nothing),
            (place(4, Out), Hung::Program(8)),
            (place(4, In), Hung::Program(7)),
        ]);
        let wanted = BTreeMap::from([
            (place(1, In), 7),
            (place(1, Out), 8),
            (place(2, In), 7),
            (place(5, In), 7),
            (place(5, Out), 8),
        ]);
        let expected = [
            Change::Update(place(1, Out)),
            Change::Attach(place(2, In)),
            Change::Attach(place(5, Out)),
            Change::Attach(place(5, In)),
            Change::Detach(place(3, In)),
            Change::Detach(place(4, In)),
            Change::Detach(place(4, Out)),
        ];
        assert_eq!(diff(&observed, &wanted), expected);
        let reached = wanted.iter().map(|(place, id)| (*place, Hung::Program(*id))).collect();
        assert_eq!(diff(&reached, &wanted), []);
    }
}
