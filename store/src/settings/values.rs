//! Values in memory, as bytes.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

/// The values of one table.
#[derive(Default)]
pub(crate) struct Values(RwLock<HashMap<Box<str>, Bytes, RandomState>>);

impl Values {
    pub(crate) fn apply(&self, key: &str, value: Option<&[u8]>) {
        let mut values = self.0.write();
        match value.map(Bytes::copy_from_slice) {
            Some(value) => match values.get_mut(key) {
                Some(old) => *old = value,
                None => drop(values.insert(key.into(), value)),
            },
            None => drop(values.remove(key)),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Bytes> {
        self.0.read().get(key).cloned()
    }

    /// Every key and value, sorted by key.
    pub(crate) fn scan(&self) -> Vec<(String, Bytes)> {
        let values = self.0.read();
        let mut all: Vec<_> = values
            .iter()
            .map(|(key, value)| (String::from(&**key), value.clone()))
            .collect();
        drop(values);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
