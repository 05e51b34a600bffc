//! When which half message is asked about. Pure: times are monotonic milliseconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::tables::half::Names;

/// Half messages in the order in which their time comes, by producer group. What has ended is left out when its time comes.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    groups: HashMap<Box<str>, BTreeSet<(i64, u64)>>,
    /// Those that were asked about for the last time.
    parking: BTreeSet<(i64, u64)>,
}

impl Schedule {
    /// A half message is to be asked about at a time.
    pub(super) fn ask(&mut self, names: &Arc<Names>, at_ms: i64, position: u64) {
        if let Some(group) = self.groups.get_mut(&names.group) {
            group.insert((at_ms, position));
            return;
        }
        let first = BTreeSet::from([(at_ms, position)]);
        self.groups.insert(names.group.clone(), first);
    }

    /// A half message is to be parked at a time.
    pub(super) fn park(&mut self, at_ms: i64, position: u64) {
        self.parking.insert((at_ms, position));
    }

    /// Takes those whose time has come, at most `max`: of groups that somebody is there of, in turn. `is_open` says whether one has not ended.
    pub(super) fn due_to_ask(
        &mut self,
        now_ms: i64,
        max: usize,
        is_there: impl Fn(&str) -> bool,
        is_open: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        let mut due = Vec::new();
        let is_due = |set: &BTreeSet<(i64, u64)>| {
            let first = set.first();
            first.is_some_and(|(at_ms, _)| *at_ms <= now_ms)
        };
        let mut turns = Vec::new();
        for (group, set) in &mut self.groups {
            while is_due(set) && set.first().is_some_and(|(_, position)| !is_open(*position)) {
                set.pop_first();
            }
            if is_due(set) && is_there(group) {
                turns.push(set);
            }
        }
        while !turns.is_empty() && due.len() < max {
            turns.retain_mut(|set| {
                if due.len() < max && is_due(set) {
                    due.extend(set.pop_first().map(|(_, position)| position));
                }
                is_due(set)
            });
        }
        self.groups.retain(|_, set| !set.is_empty());
        due
    }

    /// Takes those that are to be parked now, at most `max`.
    pub(super) fn due_to_park(&mut self, now_ms: i64, max: usize) -> Vec<u64> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(first) = self.parking.first().copied()
            && first.0 <= now_ms
        {
            self.parking.remove(&first);
            due.push(first.1);
        }
        due
    }

    /// When the next one's time comes: of those to be parked, and of groups that somebody is there of.
    pub(super) fn next_ms(&self, is_there: impl Fn(&str) -> bool) -> Option<i64> {
        let groups = self.groups.iter();
        let asks = groups
            .filter(|(group, _)| is_there(group))
            .filter_map(|(_, set)| set.first());
        asks.chain(self.parking.first()).map(|first| first.0).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(group: &str) -> Arc<Names> {
        Arc::new(Names {
            group: group.into(),
            topic: "t".into(),
        })
    }

    #[test]
    fn groups_take_turns_and_those_without_members_wait() {
        let mut schedule = Schedule::default();
        let (a, b, gone) = (names("a"), names("b"), names("gone"));
        for position in 0..5 {
            schedule.ask(&a, 10, position);
        }
        schedule.ask(&b, 12, 20);
        schedule.ask(&b, 13, 21);
        schedule.ask(&gone, 1, 30);
        let is_there = |group: &str| group != "gone";
        assert_eq!(schedule.next_ms(is_there), Some(10));
        assert_eq!(schedule.next_ms(|_| true), Some(1));
        assert!(schedule.due_to_ask(9, 10, is_there, |_| true).is_empty());
        let mut due = schedule.due_to_ask(13, 4, is_there, |_| true);
        due.sort_unstable();
        assert_eq!(due, [0, 1, 20, 21]);
        // What has ended is left out, also of a group that nobody is there of.
        let due = schedule.due_to_ask(13, 10, is_there, |position| position > 2 && position < 30);
        assert_eq!(due, [3, 4]);
        assert_eq!(schedule.next_ms(|_| true), None);
    }

    #[test]
    fn parking_waits_for_nobody() {
        let mut schedule = Schedule::default();
        schedule.park(5, 2);
        schedule.park(5, 1);
        schedule.park(9, 3);
        assert_eq!(schedule.next_ms(|_| false), Some(5));
        assert_eq!(schedule.due_to_park(5, 1), [1]);
        assert_eq!(schedule.due_to_park(8, 9), [2]);
        assert_eq!(schedule.next_ms(|_| false), Some(9));
    }
}
