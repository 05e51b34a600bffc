//! Writing a run again from the log.

use std::collections::BTreeMap;
use std::io;

use rmq_protocol::message::{RecordView, properties, property, tag_hash};

use super::keys::{KeyEntry, key_hashes};
use super::manifest::RunName;
use super::run::{Run, RunDamaged, RunEntry, RunWriter, Span, publish};
use super::{Index, recent};
use crate::further::{self, LIGHT_QUEUE_ID};
use crate::log_reader::LogReader;

/// Why a run could not be written again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error("writing index run {span} again from the log failed: {error}")]
    Io { span: Span, error: io::Error },
    #[error("the run just written cannot be read back: {0}")]
    Damaged(#[from] RunDamaged),
}

#[derive(Default)]
struct Rows {
    queues: BTreeMap<(String, i32), (i64, Vec<RunEntry>)>,
    keys: Vec<KeyEntry>,
    base_ms: Option<i64>,
}

impl Rows {
    /// Puts a record into the entries of a queue. False when another one has its offset.
    fn enter(&mut self, topic: &str, id: i32, offset: i64, entry: RunEntry) -> bool {
        let queue = self
            .queues
            .entry((topic.to_owned(), id))
            .or_insert_with(|| (offset, Vec::new()));
        let gap = offset - (queue.0 + queue.1.len() as i64);
        if gap < 0 {
            return false;
        }
        if gap > recent::HOLES_MAX {
            *queue = (offset, Vec::new());
        } else {
            queue.1.extend((0..gap).map(|_| RunEntry {
                size: 0,
                tag_hash: 0,
                ..entry
            }));
        }
        queue.1.push(entry);
        true
    }
}

impl Index {
    /// Replaces every run that a look-up found damaged. Returns whether there was one.
    pub(crate) fn heal(&self, log: &dyn LogReader) -> Result<bool, RebuildError> {
        let mut generation = self.changes.lock();
        let runs = self.runs.load_full();
        if !runs.iter().any(|run| run.is_damaged()) {
            return Ok(false);
        }
        let mut healed = super::Runs::with_capacity(runs.len());
        for run in runs.iter() {
            if run.is_damaged() {
                tracing::error!(log = %run.span(), "an index run is damaged; it is written again from the log");
                healed.push(std::sync::Arc::new(
                    self.rebuild_as(self.next_name(&mut generation, run.span()), log)?,
                ));
            } else {
                healed.push(std::sync::Arc::clone(run));
            }
        }
        let from = runs.first().map_or(self.end(), |first| first.span().from);
        let span = Span::new(from, self.end());
        self.install(&mut generation, healed)
            .map_err(|error| RebuildError::Io { span, error })?;
        Ok(true)
    }

    /// Writes one run again.
    pub(super) fn rebuild(&self, span: Span, log: &dyn LogReader) -> Result<Run, RebuildError> {
        let name = self.next_name(&mut self.changes.lock(), span);
        self.rebuild_as(name, log)
    }

    fn rebuild_as(&self, name: RunName, log: &dyn LogReader) -> Result<Run, RebuildError> {
        let span = name.span;
        let failed = |error| RebuildError::Io { span, error };
        let rows = self.rows(span, log).map_err(failed)?;
        let path = name.path(&self.dir);
        publish::<io::Error>(&*self.fs, &path, |file| {
            let mut writer = RunWriter::new(file, span, name.number, rows.base_ms.unwrap_or(0));
            for ((topic, id), (first, entries)) in &rows.queues {
                writer.queue(topic, *id, *first);
                entries.iter().try_for_each(|entry| writer.entry(entry))?;
            }
            let mut writer = writer.keys(rows.keys.len());
            rows.keys
                .iter()
                .try_for_each(|key| writer.key(key.hash, key.position))?;
            writer.finish()
        })
        .map_err(failed)?;
        Ok(Run::open(&*self.fs, &path, span)?)
    }

    fn rows(&self, span: Span, log: &dyn LogReader) -> io::Result<Rows> {
        let mut rows = Rows::default();
        log.scan(
            span.from.max(log.start()),
            span.to,
            &mut |position, bytes| {
                let Ok(record) = RecordView::parse(bytes) else {
                    return;
                };
                let entry = RunEntry {
                    position,
                    size: record.size() as u32,
                    tag_hash: tag_hash(record.property(property::TAGS).unwrap_or("")),
                    store_ms: Some(record.store_ms()),
                };
                let offset = record.queue_offset().0;
                if !rows.enter(record.topic(), record.queue_id().0, offset, entry) {
                    return;
                }
                for (topic, offset) in further::of(&record) {
                    rows.enter(topic, LIGHT_QUEUE_ID, offset, entry);
                }
                rows.base_ms = Some(
                    rows.base_ms
                        .map_or(record.store_ms(), |base| base.min(record.store_ms())),
                );
                let (keys, unique) = (property::KEYS, property::UNIQ_KEY);
                let value = |name| properties::get(record.properties(), name).unwrap_or("");
                for hash in key_hashes(record.topic(), value(keys), value(unique)) {
                    rows.keys.push(KeyEntry { hash, position });
                }
            },
        )?;
        rows.keys.sort_unstable();
        Ok(rows)
    }
}
