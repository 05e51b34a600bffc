//! The rows of a table in memory: what the log has said, and over it what this broker has appended and the log has not said yet.
//!
//! Readers see what the log has said: a change counts when its record is confirmed. What runs ahead of the log is for the next
//! change of the same key, which must build on it, and for changes that are to be seen at once: those of the message path.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// The end of a record that is not appended yet.
const NOT_APPENDED: u64 = u64::MAX;

/// A value that holds its key, so that a row does not hold it again.
pub(crate) trait Keyed {
    fn key(&self) -> &str;
}

impl<V: Keyed> Keyed for Arc<V> {
    fn key(&self) -> &str {
        (**self).key()
    }
}

/// Rows by key.
pub(crate) struct Rows<V> {
    rows: HashTable<Row<V>>,
    hasher: RandomState,
    /// Rows with a newest value.
    len: usize,
    /// Log position after the newest change that was applied.
    applied_to: u64,
}

/// A row has one of the two.
struct Row<V> {
    logged: Option<V>,
    ahead: Option<Box<Ahead<V>>>,
}

/// A value that the log has not said yet.
struct Ahead<V> {
    /// A removal has no value that holds its key.
    key: Box<str>,
    value: Option<V>,
    /// Log position after its record.
    until: u64,
    /// Readers see it at once.
    is_seen: bool,
}

impl<V> Default for Rows<V> {
    fn default() -> Self {
        Self {
            rows: HashTable::new(),
            hasher: RandomState::default(),
            len: 0,
            applied_to: 0,
        }
    }
}

impl<V: Keyed> Row<V> {
    fn key(&self) -> &str {
        match (&self.logged, &self.ahead) {
            (Some(logged), _) => logged.key(),
            (None, Some(ahead)) => &ahead.key,
            (None, None) => "",
        }
    }

    fn is_empty(&self) -> bool {
        self.logged.is_none() && self.ahead.is_none()
    }

    fn seen(&self) -> Option<&V> {
        match &self.ahead {
            Some(ahead) if ahead.is_seen => ahead.value.as_ref(),
            _ => self.logged.as_ref(),
        }
    }

    fn newest(&self) -> Option<&V> {
        match &self.ahead {
            Some(ahead) => ahead.value.as_ref(),
            None => self.logged.as_ref(),
        }
    }
}

impl<V: Keyed> Rows<V> {
    fn row(&self, key: &str) -> Option<&Row<V>> {
        let hash = self.hasher.hash_one(key);
        self.rows.find(hash, |row| row.key() == key)
    }

    /// The row of a key, or the place for it.
    fn entry(&mut self, key: &str) -> Entry<'_, Row<V>> {
        let (hash, hasher) = (self.hasher.hash_one(key), &self.hasher);
        let is_it = |row: &Row<V>| row.key() == key;
        self.rows
            .entry(hash, is_it, |row| hasher.hash_one(row.key()))
    }

    /// The value that counts.
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.row(key)?.seen()
    }

    /// The value that will count when everything that was appended is confirmed.
    pub(crate) fn newest(&self, key: &str) -> Option<&V> {
        self.row(key)?.newest()
    }

    /// Whether the log has said everything about a key that was appended.
    pub(crate) fn is_applied(&self, key: &str) -> bool {
        self.row(key).is_none_or(|row| row.ahead.is_none())
    }

    /// The values that count, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        self.rows.iter().filter_map(Row::seen)
    }

    /// How many keys have a value, with those whose records are on their way.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A change of this broker was appended, and its record ends at `until`; `None` removes the key. It may be applied already.
    pub(crate) fn appended(&mut self, key: &str, value: Option<V>, until: u64, is_seen: bool) {
        if until <= self.applied_to {
            return;
        }
        self.change(key, |row| {
            // What is seen already is not hidden again.
            let is_seen = is_seen || row.ahead.as_ref().is_some_and(|ahead| ahead.is_seen);
            row.ahead = Some(Box::new(Ahead {
                key: key.into(),
                value,
                until,
                is_seen,
            }));
        });
    }

    /// The newest value, to be changed ahead of the log and seen at once: the logged one, or a `new` one of this key. Its record is appended later.
    pub(crate) fn ahead_mut(&mut self, key: &str, new: impl FnOnce() -> V) -> &mut V
    where
        V: Clone,
    {
        let had = self.newest(key).is_some();
        self.len += usize::from(!had);
        let row = self.entry(key).or_insert_with(|| Row {
            logged: None,
            ahead: None,
        });
        let Row { logged, ahead } = row.into_mut();
        let ahead = ahead.get_or_insert_with(|| {
            Box::new(Ahead {
                key: key.into(),
                value: logged.clone(),
                until: NOT_APPENDED,
                is_seen: true,
            })
        });
        ahead.until = NOT_APPENDED;
        ahead.is_seen = true;
        ahead.value.get_or_insert_with(new)
    }

    /// What runs ahead of the log counts no more.
    pub(crate) fn drop_ahead(&mut self, key: &str) {
        self.change(key, |row| row.ahead = None);
    }

    /// The newest value of a key was appended with a record that ends at `until`, and was not changed since.
    pub(crate) fn newest_appended(&mut self, key: &str, until: u64) {
        let applied_to = self.applied_to;
        if let Entry::Occupied(mut entry) = self.entry(key)
            && let Some(ahead) = &mut entry.get_mut().ahead
        {
            ahead.until = until;
            if until <= applied_to {
                entry.get_mut().ahead = None;
            }
        }
    }

    /// The log says the value of a key, with a record that ends at `end`. True when this broker has appended it: then its value is there
    /// already. Otherwise [`apply`](Self::apply) is to follow.
    pub(crate) fn settle(&mut self, key: &str, end: u64) -> bool {
        self.applied_to = self.applied_to.max(end);
        let ahead = self.row(key).and_then(|row| row.ahead.as_ref());
        let is_own = ahead.is_some_and(|ahead| ahead.until == end);
        if is_own {
            self.change(key, |row| {
                if let Some(ahead) = row.ahead.take() {
                    row.logged = ahead.value;
                }
            });
        }
        is_own
    }

    /// Takes a value that the log says, from a record that ends at `end`.
    pub(crate) fn apply(&mut self, key: &str, value: Option<V>, end: u64) {
        self.applied_to = self.applied_to.max(end);
        self.change(key, |row| {
            row.logged = value;
            row.ahead.take_if(|ahead| ahead.until <= end);
        });
    }

    /// Sets a value that no log holds.
    pub(crate) fn insert(&mut self, value: V) {
        let key: Box<str> = value.key().into();
        self.change(&key, |row| row.logged = Some(value));
    }

    /// Replaces each value that the log has said with another one of the same key.
    pub(crate) fn replace_all<E>(
        &mut self,
        mut with: impl FnMut(&V) -> Result<V, E>,
    ) -> Result<(), E> {
        for row in &mut self.rows {
            if let Some(logged) = &mut row.logged {
                *logged = with(logged)?;
            }
        }
        Ok(())
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Row<V>)) {
        let (before, after);
        match self.entry(key) {
            Entry::Occupied(mut entry) => {
                before = entry.get().newest().is_some();
                change(entry.get_mut());
                after = entry.get().newest().is_some();
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
            Entry::Vacant(place) => {
                let mut row = Row {
                    logged: None,
                    ahead: None,
                };
                change(&mut row);
                before = false;
                after = row.newest().is_some();
                if !row.is_empty() {
                    place.insert(row);
                }
            }
        }
        self.len = self.len + usize::from(after) - usize::from(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<V> Keyed for (&'static str, V) {
        fn key(&self) -> &str {
            self.0
        }
    }

    /// What counts for a key, and what will.
    fn values<V: Copy>(rows: &Rows<(&'static str, V)>, key: &str) -> (Option<V>, Option<V>) {
        let value = |found: Option<&(&str, V)>| found.map(|found| found.1);
        (value(rows.get(key)), value(rows.newest(key)))
    }

    #[test]
    fn an_own_change_is_seen_when_the_log_says_it() {
        let mut rows = Rows::default();
        rows.appended("a", Some(("a", 1)), 100, false);
        assert_eq!(values(&rows, "a"), (None, Some(1)));
        assert_eq!(rows.len(), 1);
        assert!(!rows.settle("b", 50));
        rows.apply("b", Some(("b", 7)), 50);
        assert!(rows.settle("a", 100));
        assert_eq!((values(&rows, "a").0, rows.len()), (Some(1), 2));
        // A removal is no different.
        rows.appended("a", None, 200, false);
        assert_eq!(values(&rows, "a"), (Some(1), None));
        assert!(rows.settle("a", 200));
        assert_eq!((values(&rows, "a").0, rows.len()), (None, 1));
        assert_eq!(rows.iter().collect::<Vec<_>>(), [&("b", 7)]);
    }

    #[test]
    fn a_key_that_is_made_and_removed_ahead_of_the_log_is_found_by_its_key() {
        let mut rows = Rows::default();
        rows.appended("a", Some(("a", 1)), 100, true);
        rows.appended("a", None, 200, false);
        assert_eq!((values(&rows, "a"), rows.len()), ((None, None), 0));
        assert!(!rows.settle("a", 100));
        rows.apply("a", Some(("a", 1)), 100);
        assert_eq!((values(&rows, "a"), rows.len()), ((None, None), 0));
        assert!(rows.settle("a", 200));
        assert!(rows.is_applied("a") && rows.rows.is_empty());
    }

    #[test]
    fn changes_of_one_key_keep_the_order_of_the_log() {
        let mut rows = Rows::default();
        rows.appended("a", Some(("a", 1)), 100, true);
        rows.appended("a", Some(("a", 2)), 200, false);
        // What was seen is not hidden.
        assert_eq!(values(&rows, "a").0, Some(2));
        assert!(!rows.settle("a", 100));
        rows.apply("a", Some(("a", 1)), 100);
        assert_eq!(values(&rows, "a"), (Some(2), Some(2)));
        assert!(rows.settle("a", 200));
        assert_eq!(values(&rows, "a").0, Some(2));
        // A record that was applied before its writer came to say so.
        rows.apply("a", Some(("a", 3)), 300);
        rows.appended("a", Some(("a", 3)), 300, false);
        assert_eq!(values(&rows, "a"), (Some(3), Some(3)));
        // A change of another writer, behind an own one that never came back.
        rows.appended("a", Some(("a", 4)), 350, false);
        assert!(!rows.settle("a", 400));
        rows.apply("a", Some(("a", 5)), 400);
        assert_eq!(values(&rows, "a").1, Some(5));
    }

    #[test]
    fn what_runs_ahead_is_kept_until_its_last_record_is_applied() {
        let mut rows: Rows<(&str, Vec<i32>)> = Rows::default();
        let value = |rows: &Rows<(&'static str, Vec<i32>)>| rows.get("a").map(|row| row.1.clone());
        rows.ahead_mut("a", || ("a", Vec::new())).1.push(1);
        assert_eq!((value(&rows), rows.len()), (Some(vec![1]), 1));
        rows.newest_appended("a", 100);
        // Changed again while its record is on the way.
        rows.ahead_mut("a", || ("a", Vec::new())).1.push(2);
        assert!(!rows.settle("a", 100));
        rows.apply("a", Some(("a", vec![1])), 100);
        assert_eq!(value(&rows), Some(vec![1, 2]));
        // Applied before its writer came to say so.
        rows.apply("a", Some(("a", vec![1, 2])), 200);
        rows.newest_appended("a", 200);
        assert_eq!((value(&rows), rows.len()), (Some(vec![1, 2]), 1));
        assert!(rows.rows.iter().all(|row| row.ahead.is_none()));
    }

    #[test]
    fn many_rows_are_found() {
        let mut rows = Rows::default();
        let names: Vec<&'static str> = (0..1_000)
            .map(|number| &*format!("key-{number}").leak())
            .collect();
        for (number, name) in names.iter().enumerate() {
            rows.insert((*name, number));
        }
        for (number, name) in names.iter().enumerate() {
            assert_eq!(values(&rows, name).0, Some(number));
            if number % 2 == 0 {
                rows.apply(name, None, 1);
            }
        }
        assert_eq!((rows.len(), rows.iter().count()), (500, 500));
    }
}
