//! The place of the group: a record and a lease that are compared and swapped.

use rmq_election::place::{Lease, Record, Swap, Version, Versioned};

#[derive(Default)]
pub(crate) struct Place {
    version: u64,
    pub(crate) record: Option<Versioned<Record>>,
    pub(crate) lease: Option<Versioned<Lease>>,
}

impl Place {
    pub(crate) fn swap(&mut self, expected: Option<Version>, next: Record) -> Swap<Record> {
        Self::swap_one(&mut self.version, &mut self.record, expected, next)
    }

    pub(crate) fn swap_lease(&mut self, expected: Option<Version>, next: Lease) -> Swap<Lease> {
        Self::swap_one(&mut self.version, &mut self.lease, expected, next)
    }

    fn swap_one<T: Clone>(
        version: &mut u64,
        held: &mut Option<Versioned<T>>,
        expected: Option<Version>,
        next: T,
    ) -> Swap<T> {
        if held.as_ref().map(|held| held.version) != expected {
            return Swap::Lost(held.clone());
        }
        *version += 1;
        let version = Version(*version);
        *held = Some(Versioned {
            version,
            value: next,
        });
        Swap::Won(version)
    }
}
