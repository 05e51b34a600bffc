//! The highest epoch of each broker group whose masters are elected.
//!
//! Only registrations with an epoch count; a group whose brokers send none is not in here. An epoch outlives its group for a while: a
//! master of the past that is late finds no empty place.

use std::collections::{BTreeMap, HashMap};

/// Groups without a member whose epochs are kept, at most; the one that left first is forgotten first.
pub(super) const LEFT_MAX: usize = 10_000;
/// How long an epoch is kept after the last member of its group left, milliseconds.
pub(super) const LEFT_MS_MAX: i64 = 600_000;

/// The highest epochs.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    of: HashMap<String, Highest, foldhash::fast::RandomState>,
    /// Groups without a member, in the order in which they left.
    left: BTreeMap<u64, Left>,
    next: u64,
}

/// The highest epoch of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Highest {
    pub(super) epoch: i64,
    /// The address of its master.
    pub(super) master: String,
    /// Key in `left`.
    left: Option<u64>,
}

#[derive(Debug)]
struct Left {
    group: String,
    /// When it was first seen without a member; `None` until somebody looks.
    since_ms: Option<i64>,
}

impl Epochs {
    pub(super) fn get(&self, group: &str) -> Option<&Highest> {
        self.of.get(group)
    }

    /// A master with this epoch, which is not lower than the highest one, is taken.
    pub(super) fn raise(&mut self, group: &str, epoch: i64, master: &str) {
        let highest = self.of.entry(group.to_owned()).or_insert(Highest {
            epoch,
            master: String::new(),
            left: None,
        });
        debug_assert!(epoch >= highest.epoch, "lower ones are refused before");
        highest.epoch = epoch;
        master.clone_into(&mut highest.master);
    }

    /// The group has a member.
    pub(super) fn came(&mut self, group: &str) {
        if let Some(key) = self.of.get_mut(group).and_then(|of| of.left.take()) {
            self.left.remove(&key);
        }
    }

    /// The last member of the group left.
    pub(super) fn went(&mut self, group: &str) {
        let Some(highest) = self.of.get_mut(group) else {
            return;
        };
        if highest.left.is_some() {
            return;
        }
        highest.left = Some(self.next);
        let group = group.to_owned();
        let since_ms = None;
        self.left.insert(self.next, Left { group, since_ms });
        self.next += 1;
        if self.left.len() > LEFT_MAX {
            self.forget_first();
        }
    }

    /// Forgets the groups that have had no member for [`LEFT_MS_MAX`]. The time of a group begins with the first look at it.
    pub(super) fn expire(&mut self, now_ms: i64) {
        let unseen = self.left.values_mut().rev();
        for left in unseen.take_while(|left| left.since_ms.is_none()) {
            left.since_ms = Some(now_ms);
        }
        let is_over = |left: &Left| {
            left.since_ms
                .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= LEFT_MS_MAX)
        };
        while self
            .left
            .first_key_value()
            .is_some_and(|(_, left)| is_over(left))
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, left)) = self.left.pop_first() {
            self.of.remove(&left.group);
        }
    }

    /// How many groups have an epoch, and how many of those have no member.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.of.len(), self.left.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_outlives_its_group_for_a_time() {
        let mut epochs = Epochs::default();
        epochs.raise("a", 3, "a:1");
        epochs.went("a");
        epochs.went("a");
        epochs.expire(1_000);
        epochs.raise("b", 1, "b:1");
        epochs.went("b");
        epochs.expire(LEFT_MS_MAX + 999);
        assert_eq!(epochs.get("a").map(|highest| highest.epoch), Some(3));
        epochs.expire(LEFT_MS_MAX + 1_000);
        assert_eq!((epochs.get("a"), epochs.len()), (None, (1, 1)));
        // Who comes back in time is kept however long it stays.
        epochs.came("b");
        epochs.expire(10 * LEFT_MS_MAX);
        assert_eq!(epochs.len(), (1, 0));
        // Groups without an epoch are none of these tables' business.
        epochs.came("c");
        epochs.went("c");
        assert_eq!(epochs.len(), (1, 0));
    }

    #[test]
    fn epochs_of_groups_that_left_have_a_bound() {
        let mut epochs = Epochs::default();
        epochs.raise("stays", 1, "s:1");
        for number in 0..LEFT_MAX + 5 {
            let group = format!("g{number}");
            epochs.raise(&group, 1, "g:1");
            epochs.went(&group);
        }
        assert_eq!(epochs.len(), (LEFT_MAX + 1, LEFT_MAX));
        assert!(epochs.get("g4").is_none() && epochs.get("g5").is_some());
        assert!(epochs.get("stays").is_some());
    }
}
