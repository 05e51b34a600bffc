//! Merging runs: those of a complete segment become one, and small ones in front of the newest segment do not pile up.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use super::recent::HOLES_MAX;
use super::run::{
    Chunk, MergeError, QueueCursor, Run, RunEntry, RunWriter, SPAN_MAX, Span, merge_keys, publish,
};
use super::{Index, Runs};

/// So many runs that are together smaller than one run are merged before their segment is complete.
const SMALL_RUNS: usize = 8;

impl Index {
    /// Merges one group of runs if there is one worth it. `segment_end` says where the segment of a position ends.
    /// Returns whether something was merged.
    pub(crate) fn merge_one(
        &self,
        run_bytes: u64,
        segment_end: impl Fn(u64) -> u64,
    ) -> Result<bool, MergeError> {
        let mut generation = self.change();
        let runs = self.runs.load_full();
        let Some(group) = choose(&runs, run_bytes, segment_end) else {
            return Ok(false);
        };
        let inputs = runs.get(group.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Ok(false);
        };
        let span = Span::new(first.span().from, last.span().to);
        let name = self.next_name(&mut generation, span);
        let path = name.path(&self.dir);
        publish::<MergeError>(&*self.fs, &path, |file| {
            let base = inputs
                .iter()
                .filter(|run| run.queue_count() > 0)
                .map(|run| run.oldest_ms())
                .min()
                .unwrap_or(0);
            let newest = inputs
                .iter()
                .map(|run| run.newest_ms())
                .max()
                .unwrap_or(base);
            write(
                RunWriter::new(file, span, name.number, base).newest_at_least(newest),
                inputs,
            )
        })?;
        self.fs.crash_point("index.merge_written");
        let merged = Run::open(&*self.fs, &path, span)?;
        let mut all = Runs::clone(&runs);
        all.splice(group, [Arc::new(merged)]);
        self.install(&mut generation, all)?;
        Ok(true)
    }
}

fn choose(
    runs: &Runs,
    run_bytes: u64,
    segment_end: impl Fn(u64) -> u64,
) -> Option<std::ops::Range<usize>> {
    let mut from = 0;
    while let Some((first, later)) = runs.get(from..).and_then(<[_]>::split_first) {
        let begin = first.span().from;
        let end = segment_end(begin);
        let together = later
            .iter()
            .take_while(|run| run.span().from < end && run.span().to - begin <= SPAN_MAX)
            .count();
        let to = from + 1 + together;
        let group = runs.get(from..to).unwrap_or_default();
        let reaches = group.last().map_or(begin, |last| last.span().to);
        // Complete: the runs reach exactly to the end of the segment, so that none will follow.
        if together > 0 && reaches >= end {
            return Some(from..to);
        }
        let small = group
            .iter()
            .rev()
            .take_while(|run| reaches - run.span().from <= run_bytes)
            .count();
        if small >= SMALL_RUNS {
            return Some(to - small..to);
        }
        from = to;
    }
    None
}

fn write(mut writer: RunWriter<'_>, inputs: &[Arc<Run>]) -> Result<(), MergeError> {
    let mut cursors: Vec<QueueCursor<'_>> = inputs
        .iter()
        .map(|run| run.queues())
        .collect::<Result<_, _>>()?;
    let mut chunks: Vec<(usize, Chunk)> = Vec::with_capacity(inputs.len());
    loop {
        let mut smallest: Option<(&str, i32)> = None;
        chunks.clear();
        for (input, cursor) in cursors.iter().enumerate() {
            let Some((topic, id, chunk)) = cursor.current()? else {
                continue;
            };
            let order = smallest.map_or(Ordering::Less, |smallest| (topic, id).cmp(&smallest));
            if order == Ordering::Less {
                smallest = Some((topic, id));
                chunks.clear();
            }
            if order != Ordering::Greater {
                chunks.push((input, chunk));
            }
        }
        let Some((topic, id)) = smallest else { break };
        write_queue(&mut writer, inputs, topic, id, &chunks)?;
        for (input, _) in &chunks {
            if let Some(cursor) = cursors.get_mut(*input) {
                cursor.advance()?;
            }
        }
    }
    let mut writer = writer.keys(inputs.iter().map(|run| run.key_count()).sum());
    merge_keys(inputs, |hash, position| writer.key(hash, position))?;
    writer.finish()?;
    Ok(())
}

fn write_queue(
    writer: &mut RunWriter<'_>,
    inputs: &[Arc<Run>],
    topic: &str,
    id: i32,
    chunks: &[(usize, Chunk)],
) -> Result<(), MergeError> {
    // What lies before a jump too large for holes was given up when the jump was dispatched.
    let jump = chunks.windows(2).rposition(|pair| match pair {
        [(_, before), (_, after)] => after.first_offset - before.end_offset() > HOLES_MAX,
        _ => false,
    });
    let chunks = chunks
        .get(jump.map_or(0, |jump| jump + 1)..)
        .unwrap_or_default();
    let Some((_, first)) = chunks.first() else {
        return Ok(());
    };
    writer.queue(topic, id, first.first_offset);
    for (input, chunk) in chunks {
        let Some(run) = inputs.get(*input) else {
            continue;
        };
        // Offsets that were lost between two runs stay holes.
        let gap = chunk.first_offset - writer.next_offset();
        for _ in 0..gap.max(0) {
            let position = run.entry(chunk, 0)?.position;
            writer.entry(&RunEntry {
                position,
                size: 0,
                tag_hash: 0,
                store_ms: None,
            })?;
        }
        let mut outcome: io::Result<()> = Ok(());
        run.entries(chunk, 0..chunk.count, |entry| {
            outcome = writer.entry(&entry);
            outcome.is_ok()
        })?;
        outcome?;
    }
    Ok(())
}
