//! Finding messages by key.

use std::sync::Arc;

use rmq_protocol::message::{RecordView, property};
use tracing::warn;

use super::shared::Shared;
use crate::index::keys::{KeyKind, key_hash};
use crate::index::run::Run;

/// A look-up by key.
pub(crate) struct KeyQuery<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    pub(crate) kind: KeyKind,
    pub(crate) max: usize,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// A look-up by key gives up after so many records that share the hash and do not match: keys are made by clients, and colliding ones
/// must not make a query read the whole log.
const MISSES_MAX: usize = 10_000;

impl Shared {
    /// See [`Dispatcher::find_by_key`](super::Dispatcher::find_by_key).
    pub(crate) fn find_by_key(&self, query: &KeyQuery<'_>) -> Vec<u64> {
        let hash = key_hash(query.kind, query.topic, query.key);
        // Before the runs: a run is published before its keys are dropped here.
        let recent = self.state.lock().keys.snapshot();
        let mut found = Vec::new();
        let mut misses = 0;
        let mut last = u64::MAX;
        let start = self.index.start();
        let mut visit = |position: u64| {
            // Recent keys and the newest run can overlap; positions only go down.
            if position >= last || position < start {
                return true;
            }
            last = position;
            if self.matches(query, position) {
                found.push(position)
            } else {
                misses += 1
            }
            if misses == MISSES_MAX {
                warn!(
                    topic = query.topic,
                    "a key look-up was given up: too many other keys share its hash"
                );
            }
            found.len() < query.max && misses < MISSES_MAX
        };
        if query.max == 0 || !recent.positions(hash).all(&mut visit) {
            return found;
        }
        let within =
            |run: &&Arc<Run>| run.newest_ms() >= query.from_ms && run.oldest_ms() <= query.to_ms;
        let outcome = self.healed(|| {
            for run in self.index.runs().iter().rev().filter(within) {
                if !run.key_positions(hash, &mut visit)? {
                    break;
                }
            }
            Ok(())
        });
        if let Err(damage) = outcome {
            warn!(%damage, "a key look-up is not complete");
        }
        found
    }

    /// The record itself decides: hashes collide, and queues are deleted.
    fn matches(&self, query: &KeyQuery<'_>, position: u64) -> bool {
        let mut matches = false;
        self.log.visit(position, &mut |bytes| {
            let Ok(record) = RecordView::parse(bytes) else {
                return;
            };
            let has_key = || match query.kind {
                KeyKind::UniqueKey => record.property(property::UNIQ_KEY) == Some(query.key),
                KeyKind::Key => record
                    .property(property::KEYS)
                    .is_some_and(|keys| keys.split(' ').any(|key| key == query.key)),
            };
            let reachable = || {
                let offset = record.queue_offset().0;
                self.queues
                    .find(record.topic(), record.queue_id().0, self)
                    // Where that is not known, the record is shown.
                    .map_or(true, |found| {
                        found.is_some_and(|queue| {
                            offset >= queue.log_min() && offset < queue.max_offset()
                        })
                    })
            };
            let in_time = record.store_ms() >= query.from_ms && record.store_ms() <= query.to_ms;
            matches = in_time && record.topic() == query.topic && has_key() && reachable();
        });
        matches
    }
}
