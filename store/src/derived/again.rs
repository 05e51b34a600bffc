//! What a disk did not give when index and tables were written, and gives now. The index writes its runs again
//! ([`LogReader::readable_again`](super::LogReader::readable_again)); here the heads of queues and the settings follow.

use rmq_protocol::message::{LogPosition, RecordView};
use smallvec::SmallVec;

use super::error::DispatchError;
use super::shared::{Shared, State};
use crate::derived::look_up::Located;
use crate::error::ReadError;
use crate::further::{self, LIGHT_QUEUE_ID};
use crate::index::RunDamaged;
use crate::queue::QueueRef;
use crate::settings::{FedRecord, FedRow, QUEUE_HEADS, RecordPlace, SETTINGS_TOPIC, decode};

/// Entries of the queue of settings that are looked up at once.
const LOOK_UP: usize = 32;

/// What was found again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// Position of the first record.
    from: u64,
    /// Rows were set that messages remove, maybe behind them.
    sets_fed: bool,
}

impl Shared {
    /// Finds the records that can be read again and that the tables do not know: the replay has passed them over. Heads of queues
    /// count them afterwards.
    pub(super) fn find_again(&self) -> Result<Option<Again>, DispatchError> {
        let mut found: Option<Again> = None;
        let mut state = self.state.lock();
        let tables_from = state.tables_from;
        for range in self.log.readable_again() {
            let mut outcome: Result<(), ReadError> = Ok(());
            let mut visit = |position: u64, bytes: &[u8]| {
                let Ok(record) = RecordView::parse(bytes) else {
                    return;
                };
                if position >= tables_from || outcome.is_err() {
                    return;
                }
                let own = (record.topic(), record.queue_id().0, record.queue_offset().0);
                let further = further::of(&record).into_iter();
                let further = further.map(|(topic, offset)| (topic, LIGHT_QUEUE_ID, offset));
                for (topic, id, offset) in std::iter::once(own).chain(further) {
                    let queue = match self.queues.light_of_record(topic, id, offset, self) {
                        Ok(queue) => queue,
                        Err(error) => {
                            outcome = Err(error);
                            return;
                        }
                    };
                    queue.set_max(queue.max_offset().max(offset + 1));
                    if queue.head().last <= position {
                        queue.set_last(position);
                    }
                    if queue.touch() {
                        state.touched.push(queue);
                    }
                }
                // Settings that changed these rows later are taken again after this.
                let found = found.get_or_insert(Again {
                    from: position,
                    sets_fed: false,
                });
                for row in self
                    .declared
                    .fed_by(&FedRecord::of(&record))
                    .iter()
                    .flatten()
                {
                    found.sets_fed |= self.declared.is_fed_in_memory(row.table());
                    if let Err(error) = self.take_row_of(&mut state, &record, row) {
                        outcome = Err(error);
                    }
                }
            };
            self.log
                .scan(range.from, range.to, &mut visit)
                .map_err(|error| DispatchError::Again {
                    problem: error.to_string(),
                })?;
            outcome?;
        }
        Ok(found)
    }

    fn take_row_of(
        &self,
        state: &mut State,
        record: &RecordView<'_>,
        row: &FedRow,
    ) -> Result<(), ReadError> {
        let position = record.position().0;
        let place = RecordPlace {
            position,
            queue_offset: record.queue_offset().0,
            store_ms: record.store_ms(),
        };
        let end = LogPosition(position + record.size() as u64);
        self.take_fed(state, row, place, end, false)
    }

    /// Applies the settings from a log position on again, in order: the last change of a key counts, and a deletion hides what lies
    /// before it, also what was not known when it was applied first. Bounds of queues are settled.
    pub(super) fn take_settings_again(&self, mut again: Again) -> Result<(), DispatchError> {
        let queue = self.queues.get_or_create(SETTINGS_TOPIC, 0, self)?;
        let mut deletions: Vec<(String, u64)> = Vec::new();
        let mut next = self.first_behind(&queue, again.from)?;
        let mut located: SmallVec<[Located; 32]> = SmallVec::new();
        while next < queue.max_offset() {
            located.clear();
            let after = self
                .locate(&queue, next, LOOK_UP, &mut located)
                .map_err(not_found)?;
            for entry in &located {
                again.sets_fed |= self.changes_again(entry, &mut deletions)?;
            }
            if after <= next {
                return Err(DispatchError::Again {
                    problem: format!("settings cannot be found from offset {next} on"),
                });
            }
            next = after;
        }
        if again.sets_fed {
            self.remove_again(again.from)?;
        }
        for (topic, position) in deletions {
            for queue in self.queues.of_topic(&topic, self)? {
                let floor = self.first_behind(&queue, position)?;
                queue.raise_floor(floor);
                let mut state = self.state.lock();
                state
                    .pending
                    .delete_below(queue.topic(), queue.queue_id(), floor);
                if queue.touch() {
                    state.touched.push(queue);
                }
            }
        }
        Ok(())
    }

    /// Removes again what messages have removed: rows that were set again came before.
    fn remove_again(&self, from: u64) -> Result<(), DispatchError> {
        let mut outcome: Result<(), ReadError> = Ok(());
        let mut state = self.state.lock();
        let mut visit = |_position: u64, bytes: &[u8]| {
            let Ok(record) = RecordView::parse(bytes) else {
                return;
            };
            let rows = self.declared.fed_by(&FedRecord::of(&record));
            for row in rows.iter().flatten().filter(|row| row.is_removed()) {
                if let Err(error) = self.take_row_of(&mut state, &record, row) {
                    outcome = Err(error);
                }
            }
        };
        self.log
            .scan(from, self.dispatched(), &mut visit)
            .map_err(|error| DispatchError::Again {
                problem: error.to_string(),
            })?;
        outcome?;
        Ok(())
    }

    /// Applies the changes of a settings record; none when it cannot be read, which is reported as damage. Whether it sets rows that messages
    /// remove.
    fn changes_again(
        &self,
        entry: &Located,
        deletions: &mut Vec<(String, u64)>,
    ) -> Result<bool, DispatchError> {
        let position = entry.position;
        let mut sets_fed = false;
        let mut outcome = Ok(());
        self.log.visit(position, &mut |bytes| {
            let Ok(record) = RecordView::parse(bytes) else {
                return;
            };
            outcome = decode(record.body(), &self.declared)
                .map_err(|error| error.to_string())
                .and_then(|changes| {
                    let mut state = self.state.lock();
                    for change in changes {
                        if change.table == QUEUE_HEADS {
                            deletions.push((change.text().to_owned(), position));
                            continue;
                        }
                        sets_fed |=
                            change.value.is_some() && self.declared.is_fed_in_memory(change.table);
                        self.take_change(
                            &mut state,
                            &change,
                            LogPosition(entry.end()),
                            record.store_ms(),
                            None,
                        )
                        .map_err(|error| error.to_string())?;
                    }
                    Ok(())
                });
        });
        outcome
            .map(|()| sets_fed)
            .map_err(|problem| DispatchError::Settings { position, problem })
    }

    /// The offset of the first message of a queue that lies at a log position or behind it.
    fn first_behind(&self, queue: &QueueRef, position: u64) -> Result<i64, DispatchError> {
        let (mut low, mut high) = (queue.log_min(), queue.max_offset());
        let mut located: SmallVec<[Located; 32]> = SmallVec::new();
        while low < high {
            let middle = low + (high - low) / 2;
            located.clear();
            self.locate(queue, middle, 1, &mut located)
                .map_err(not_found)?;
            match located.first() {
                Some(entry) if entry.position < position => low = entry.offset + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

fn not_found(damage: RunDamaged) -> DispatchError {
    DispatchError::Again {
        problem: damage.to_string(),
    }
}
