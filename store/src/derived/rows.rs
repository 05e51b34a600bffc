//! Reading tables on disk: what the file has, and over it the changes that it does not hold yet.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::shared::Shared;
use crate::error::ReadError;
use crate::settings::{Row, Table};
use crate::tables::Pending;

/// Changes that lie over the rows of the file.
struct Over {
    changes: BTreeMap<Vec<u8>, Option<Bytes>>,
    /// Changes from here on were left out: the answer ends before.
    to: Option<Vec<u8>>,
    /// How many seals have ended.
    seals: u64,
}

impl Shared {
    /// See [`Store::rows`](crate::Store::rows).
    pub(crate) fn rows(
        &self,
        table: &Table,
        from: &[u8],
        to: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<Row>, ReadError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        // The changes that are not sealed and the file must be of one moment. A seal that ends in between moves changes from one to the other;
        // seals are seconds apart.
        let (over, file) = loop {
            let over = self.over(table, from, to, max);
            let file = self.tables.begin(table.name)?;
            if self.state.lock().seals == over.seals {
                break (over, file);
            }
        };
        let to = over.to.as_deref().or(to);
        let mut rows: Vec<Row> = Vec::new();
        let mut changes = over.changes.iter().peekable();
        let push = |rows: &mut Vec<Row>, key: &[u8], value: Bytes| {
            rows.push((key.to_vec(), value));
            rows.len() < max
        };
        if let Some(file) = file {
            self.tables
                .visit(&file, table.name, from, to, &mut |key, value| {
                    while let Some((changed, value)) =
                        changes.next_if(|(changed, _)| &***changed < key)
                    {
                        if let Some(value) = value
                            && !push(&mut rows, changed, value.clone())
                        {
                            return false;
                        }
                    }
                    match changes.next_if(|(changed, _)| &***changed == key) {
                        Some((_, None)) => true,
                        Some((_, Some(newer))) => push(&mut rows, key, newer.clone()),
                        None => push(&mut rows, key, Bytes::copy_from_slice(value)),
                    }
                })?;
        }
        for (key, value) in changes {
            if rows.len() >= max {
                break;
            }
            if let Some(value) = value {
                push(&mut rows, key, value.clone());
            }
        }
        Ok(rows)
    }

    /// Changes that the file does not hold, or may not hold: enough for `max` rows.
    fn over(&self, table: &Table, from: &[u8], to: Option<&[u8]>, max: usize) -> Over {
        let state = self.state.lock();
        let mut over = Over {
            changes: BTreeMap::new(),
            to: None,
            seals: state.seals,
        };
        let none = Pending::default();
        let sealing = state.sealing.as_deref().unwrap_or(&none);
        let mut older = sealing.range(table.id, from, to).peekable();
        let mut newer = state.pending.range(table.id, from, to).peekable();
        let mut live = 0;
        loop {
            let take_older = match (older.peek(), newer.peek()) {
                (Some((old, _)), Some((new, _))) if old == new => {
                    older.next();
                    continue;
                }
                (Some((old, _)), Some((new, _))) => old < new,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let next = match take_older {
                true => older.next(),
                false => newer.next(),
            };
            let Some((key, value)) = next else { break };
            if live == max {
                over.to = Some(key.to_vec());
                break;
            }
            live += usize::from(value.is_some());
            over.changes.insert(key.to_vec(), value.cloned());
        }
        over
    }
}
