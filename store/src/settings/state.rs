//! The current values in memory.
#![allow(
    clippy::indexing_slicing,
    reason = "an array with a place for each table, indexed by the table; no disk is read"
)]

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{Change, Table};

type Values = HashMap<Box<str>, Bytes, RandomState>;

/// Every value of every table as of the newest appended change.
#[derive(Default)]
pub(crate) struct SettingsState {
    tables: [RwLock<Values>; Table::ALL.len()],
    order: Mutex<()>,
}

impl SettingsState {
    /// Held while a change is appended and applied, so that both happen in one order.
    pub(crate) fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock()
    }

    /// Makes the changes the current values.
    pub(crate) fn update(&self, changes: &[Change]) {
        for change in changes {
            let mut values = self.tables[change.table.index()].write();
            match &change.value {
                Some(value) => match values.get_mut(change.key.as_str()) {
                    Some(old) => *old = value.clone(),
                    None => {
                        values.insert(change.key.as_str().into(), value.clone());
                    }
                },
                None => {
                    values.remove(change.key.as_str());
                }
            }
        }
    }

    pub(crate) fn get(&self, table: Table, key: &str) -> Option<Bytes> {
        self.tables[table.index()].read().get(key).cloned()
    }

    pub(crate) fn scan(&self, table: Table) -> Vec<(String, Bytes)> {
        let values = self.tables[table.index()].read();
        let mut all: Vec<_> = values
            .iter()
            .map(|(key, value)| (String::from(&**key), value.clone()))
            .collect();
        drop(values);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    pub(crate) fn len(&self, table: Table) -> usize {
        self.tables[table.index()].read().len()
    }
}
