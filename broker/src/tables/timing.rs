//! How many timers wait, by topic and by the second in which they are due. Nobody counts while nobody leads; then rows that are there are
//! counted piece by piece, beside those that come and go meanwhile.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::due_key::{Key, TIMERS};

/// Timers of one topic.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OfTopic {
    /// They wait.
    pub(crate) waiting: i64,
    /// They began to wait since this broker leads.
    pub(crate) begun: u64,
    /// They were delivered, recalled or dropped since then.
    pub(crate) ended: u64,
}

/// How many timers wait.
#[derive(Debug)]
pub(crate) struct Timing {
    topics: HashMap<u32, OfTopic, RandomState>,
    seconds: BTreeMap<i64, u32>,
    /// Rows before are counted; `None`: all are.
    counted: Option<Key>,
    /// What changed since the look at a piece began, beyond `counted`; `None`: nobody looks.
    changed: Option<Vec<(Key, bool)>>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            topics: HashMap::default(),
            seconds: BTreeMap::new(),
            counted: Some(Key::first(TIMERS, i64::MIN, i64::MIN)),
            changed: None,
        }
    }
}

impl Timing {
    /// By topic ([`topic_hash`](super::due_key::topic_hash)).
    pub(crate) fn topics(&self) -> impl Iterator<Item = (u32, OfTopic)> {
        self.topics.iter().map(|(topic, of)| (*topic, *of))
    }

    /// How many are due from a time on and before another one, Unix milliseconds, to the second.
    pub(crate) fn between(&self, from_ms: i64, to_ms: i64) -> u64 {
        let seconds = from_ms.div_euclid(1_000)..to_ms.div_euclid(1_000);
        if seconds.is_empty() {
            return 0;
        }
        let counts = self.seconds.range(seconds);
        counts.map(|(_, count)| u64::from(*count)).sum()
    }

    /// The second in which the first one is due, Unix milliseconds.
    pub(crate) fn first_ms(&self) -> Option<i64> {
        self.seconds.keys().next().map(|second| second * 1_000)
    }

    /// A row was set or removed.
    pub(super) fn changed(&mut self, key: Key, is_set: bool) {
        let of = self.topics.entry(key.topic).or_default();
        match is_set {
            true => of.begun += 1,
            false => of.ended += 1,
        }
        match (self.counted, &mut self.changed) {
            (Some(counted), Some(changed)) if key >= counted => changed.push((key, is_set)),
            (Some(counted), None) if key >= counted => {}
            _ => self.add(key, is_set),
        }
    }

    fn add(&mut self, key: Key, is_set: bool) {
        let by = if is_set { 1 } else { -1 };
        self.topics.entry(key.topic).or_default().waiting += by;
        let second = key.due_ms.div_euclid(1_000);
        let count = self.seconds.entry(second).or_default();
        *count = count.saturating_add_signed(by as i32);
        if *count == 0 {
            self.seconds.remove(&second);
        }
    }

    /// From where the rows of the next piece are to be read; `None`: all are counted.
    pub(super) fn begin(&mut self) -> Option<Key> {
        let from = self.counted?;
        self.changed = Some(Vec::new());
        Some(from)
    }

    /// The rows of a piece, sorted, and from where on there may be more. Whether a change that came since [`begin`](Self::begin) is among
    /// them does not matter.
    pub(super) fn count(&mut self, rows: &[Key], next: Option<Key>) {
        for key in rows {
            self.add(*key, true);
        }
        let changed = self.changed.take().unwrap_or_default();
        let is_behind = |key: &Key| next.is_some_and(|next| *key >= next);
        let last: BTreeMap<Key, bool> = changed
            .into_iter()
            .filter(|(key, _)| !is_behind(key))
            .collect();
        for (key, is_set) in last {
            let was_counted = rows.binary_search(&key).is_ok();
            if was_counted != is_set {
                self.add(key, is_set);
            }
        }
        self.counted = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(due_ms: i64) -> Key {
        Key {
            position: due_ms as u64,
            topic: 7,
            ..Key::first(TIMERS, 0, due_ms)
        }
    }

    fn waiting(timing: &Timing) -> i64 {
        timing.topics().map(|(_, of)| of.waiting).sum()
    }

    #[test]
    fn what_comes_and_goes_while_rows_are_counted_counts_once() {
        let mut timing = Timing::default();
        let rows: Vec<Key> = (0..10).map(|n| key(n * 1_000)).collect();
        assert_eq!(timing.begin(), Some(Key::first(TIMERS, i64::MIN, i64::MIN)));
        // One that the look sees and one that it does not, coming and going; one behind the piece; one that comes and goes.
        for (due_ms, is_set) in [
            (4_000, true),
            (4_500, true),
            (3_000, false),
            (2_500, false),
            (9_000, false),
            (4_600, true),
            (4_600, false),
        ] {
            timing.changed(key(due_ms), is_set);
        }
        timing.count(&rows[..5], Some(key(4_000).after()));
        // 0 to 4 without 3, as 4,500 lies behind the piece.
        assert_eq!(waiting(&timing), 4);
        // Between two looks: what is counted changes, the rest is seen later.
        timing.changed(key(1_000), false);
        timing.changed(key(8_000), false);
        assert_eq!(waiting(&timing), 3);
        assert_eq!(timing.begin(), Some(key(4_000).after()));
        let rest = [key(4_500), key(5_000), key(6_000), key(7_000)];
        timing.count(&rest, None);
        assert_eq!((waiting(&timing), timing.begin()), (7, None));
        timing.changed(key(7_000), false);
        timing.changed(key(20_000), true);
        assert_eq!(waiting(&timing), 7);
        assert_eq!(timing.between(4_000, 6_000), 3);
        assert_eq!(timing.between(20_000, 21_000), 1);
        assert_eq!(timing.between(21_000, 20_000), 0);
        assert_eq!(timing.first_ms(), Some(0));
        let of: Vec<_> = timing.topics().collect();
        assert_eq!((of[0].1.begun, of[0].1.ended), (4, 7));
    }
}
