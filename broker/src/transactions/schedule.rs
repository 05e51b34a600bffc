//! When which half message is asked about. Pure: times are monotonic milliseconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::tables::half::Names;

/// What is done when a time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Ask,
    Park,
}

/// Half messages in the order in which their time comes, by producer group. What has ended is left out when its time comes, and so is what was
/// scheduled again since.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    groups: HashMap<Box<str>, BTreeSet<(i64, u64)>>,
    /// Those that were asked about for the last time.
    parking: BTreeSet<(i64, u64)>,
    /// What counts of each position: what it was scheduled for last.
    last: HashMap<u64, (i64, What)>,
}

impl Schedule {
    /// A half message is to be asked about at a time.
    pub(super) fn ask(&mut self, names: &Arc<Names>, at_ms: i64, position: u64) {
        self.last.insert(position, (at_ms, What::Ask));
        if let Some(group) = self.groups.get_mut(&names.group) {
            group.insert((at_ms, position));
            return;
        }
        let first = BTreeSet::from([(at_ms, position)]);
        self.groups.insert(names.group.clone(), first);
    }

    /// A half message is to be parked at a time.
    pub(super) fn park(&mut self, at_ms: i64, position: u64) {
        self.last.insert(position, (at_ms, What::Park));
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
        let last = &mut self.last;
        let is_due = |set: &BTreeSet<(i64, u64)>| {
            let first = set.first();
            first.is_some_and(|(at_ms, _)| *at_ms <= now_ms)
        };
        let counts = |last: &HashMap<u64, (i64, What)>, at_ms: i64, position: u64| {
            last.get(&position) == Some(&(at_ms, What::Ask)) && is_open(position)
        };
        let mut turns = Vec::new();
        for (group, set) in &mut self.groups {
            while is_due(set)
                && let Some((at_ms, position)) = set.first().copied()
                && !counts(last, at_ms, position)
            {
                set.pop_first();
                forget(last, position, (at_ms, What::Ask));
            }
            if is_due(set) && is_there(group) {
                turns.push(set);
            }
        }
        while !turns.is_empty() && due.len() < max {
            turns.retain_mut(|set| {
                if due.len() < max
                    && is_due(set)
                    && let Some((at_ms, position)) = set.pop_first()
                {
                    if counts(last, at_ms, position) {
                        due.push(position);
                    }
                    forget(last, position, (at_ms, What::Ask));
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
            && let Some((at_ms, position)) = self.parking.first().copied()
            && at_ms <= now_ms
        {
            self.parking.pop_first();
            if forget(&mut self.last, position, (at_ms, What::Park)) {
                due.push(position);
            }
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

/// Whether this was what counts of a position; then nothing does any more.
fn forget(last: &mut HashMap<u64, (i64, What)>, position: u64, what: (i64, What)) -> bool {
    let counts = last.get(&position) == Some(&what);
    if counts {
        last.remove(&position);
    }
    counts
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

    #[test]
    fn what_is_scheduled_again_counts_once() {
        let mut schedule = Schedule::default();
        let names = names("g");
        // It was to be parked at 50 or asked about at 40, and is checked from the beginning.
        schedule.park(50, 1);
        schedule.ask(&names, 10, 1);
        schedule.ask(&names, 40, 2);
        schedule.ask(&names, 10, 2);
        let ask =
            |schedule: &mut Schedule, now_ms| schedule.due_to_ask(now_ms, 10, |_| true, |_| true);
        assert_eq!(ask(&mut schedule, 10), [1, 2]);
        schedule.ask(&names, 70, 1);
        schedule.ask(&names, 70, 2);
        assert!(schedule.due_to_park(60, 9).is_empty());
        assert!(ask(&mut schedule, 60).is_empty());
        assert_eq!(ask(&mut schedule, 70), [1, 2]);
        assert!(schedule.last.is_empty() && schedule.next_ms(|_| true).is_none());
    }
}
